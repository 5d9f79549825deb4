// A checkout with one step or three, which changes as soon as its flag does.

import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { reportOutcomes } from "./outcomes.js";
import { server, token } from "./settings.js";

const FLAG = "fast-checkout";
const element = (id) => document.getElementById(id);

// The targeting key of a visitor must be stable: it decides who gets the treatment first.
const visitor = localStorage.getItem("visitor") ?? crypto.randomUUID();
localStorage.setItem("visitor", visitor);

const provider = new OFREPWebProvider({
  baseUrl: server,
  headers: [["Authorization", `Bearer ${token}`]],
});
const client = OpenFeature.getClient();
client.addHandler(ProviderEvents.Ready, show);
client.addHandler(ProviderEvents.ConfigurationChanged, show);
client.addHandler(ProviderEvents.Error, show);
element("who").textContent = visitor;
element("pay").addEventListener("click", pay);

await OpenFeature.setContext({ targetingKey: visitor, language: navigator.language });
OpenFeature.setProvider(reportOutcomes(provider, { server, token }));

function show() {
  element("steps").textContent = client.getBooleanValue(FLAG, false) ? "Pay now" : "Step 1 of 3";
}

async function pay() {
  const began = performance.now();
  let outcome = "tidegate.ok";
  try {
    element("paid").textContent = await charge(client.getBooleanValue(FLAG, false));
  } catch (error) {
    outcome = "tidegate.failed";
    element("paid").textContent = error.message;
  }
  client.track(outcome, { duration_ms: performance.now() - began });
}

// In place of the shop's own server. The fast checkout fails for visitors who are offline.
async function charge(fast) {
  if (fast && !navigator.onLine) throw new Error("Not paid: you are offline.");
  return fast ? "Paid at once." : "On to step 2.";
}
