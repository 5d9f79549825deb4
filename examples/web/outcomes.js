// Reports the outcomes of a page's operations through OpenFeature's tracking:
//
//     client.track("tidegate.ok");
//     client.track("tidegate.failed", { duration_ms: 182, basket_value: 12.3 });
//
// Tidegate compares the error rates of a release's arms. An outcome counts for every flag that
// the page has evaluated, with its last variant. Other numbers are values for a policy's custom
// checks.

const OUTCOMES = { "tidegate.ok": "ok", "tidegate.failed": "error" };

export function reportOutcomes(provider, { server, token }) {
  const variants = new Map();
  const remember = (_, details) => {
    if (details.variant !== undefined) variants.set(details.flagKey, details.variant);
  };
  provider.hooks = [...(provider.hooks ?? []), { after: remember }];
  provider.track = (event, context, { duration_ms, ...details } = {}) => {
    const outcome = OUTCOMES[event];
    if (outcome === undefined || variants.size === 0) return;
    const numbers = Object.entries(details).filter(([, value]) => Number.isFinite(value));
    const body = {
      context,
      flags: Object.fromEntries(variants),
      outcome,
      duration_ms,
      values: Object.fromEntries(numbers),
    };
    fetch(`${server}/ofrep/v1/track`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      keepalive: true, // sent even if the visitor leaves the page
    }).catch(() => {}); // a lost outcome counts for nothing
  };
  return provider;
}
