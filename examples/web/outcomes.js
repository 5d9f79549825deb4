// Lets OpenFeature's tracking say how the page's work went:
//
//     client.track("tidegate.ok");
//     client.track("tidegate.failed", { duration_ms: 182, basket_value: 12.3 });
//
// Tidegate compares the error rates of a release's arms. An outcome counts for every flag that
// the page has asked, for the variant that it was given last. Other numbers are values that a
// policy's custom checks may compare.

const OUTCOMES = { "tidegate.ok": "ok", "tidegate.failed": "error" };

export function reportOutcomes(provider, { server, token }) {
  const given = new Map();
  const remember = (_, details) => {
    if (details.variant !== undefined) given.set(details.flagKey, details.variant);
  };
  provider.hooks = [...(provider.hooks ?? []), { after: remember }];
  provider.track = (event, context, { duration_ms, ...details } = {}) => {
    const outcome = OUTCOMES[event];
    if (outcome === undefined || given.size === 0) return;
    const numbers = Object.entries(details).filter(([, value]) => Number.isFinite(value));
    const said = {
      context,
      flags: Object.fromEntries(given),
      outcome,
      duration_ms,
      values: Object.fromEntries(numbers),
    };
    fetch(`${server}/ofrep/v1/track`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(said),
      keepalive: true, // it arrives even when the page is left
    }).catch(() => {}); // an outcome that does not arrive is no evidence
  };
  return provider;
}
