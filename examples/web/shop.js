// A checkout that shows one step or three, and changes while one looks at it.

import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { reportOutcomes } from "./outcomes.js";
import { server, token } from "./settings.js";

const FLAG = "fast-checkout";
const on = (id) => document.getElementById(id);

// Who is asking must stay the same for the same visitor: it decides who is among the first.
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
on("who").textContent = visitor;
on("pay").addEventListener("click", pay);

await OpenFeature.setContext({ targetingKey: visitor, language: navigator.language });
OpenFeature.setProvider(reportOutcomes(provider, { server, token }));

function show() {
  on("steps").textContent = client.getBooleanValue(FLAG, false) ? "Pay now" : "Step 1 of 3";
}

async function pay() {
  const began = performance.now();
  let outcome = "tidegate.ok";
  try {
    on("paid").textContent = await charge(client.getBooleanValue(FLAG, false));
  } catch (error) {
    outcome = "tidegate.failed";
    on("paid").textContent = error.message;
  }
  client.track(outcome, { duration_ms: performance.now() - began });
}

// Stands for the shop's own server. The fast way has a fault for those who are offline.
async function charge(fast) {
  if (fast && !navigator.onLine) throw new Error("Not paid: you are offline.");
  return fast ? "Paid at once." : "On to step 2.";
}
