// OpenFeature's client for pages. Node.js has no EventSource, so a package provides one.

import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { EventSource } from "eventsource";
import { reportOutcomes } from "../../examples/web/outcomes.js";
import { details, runCommands } from "./driver.mjs";

globalThis.EventSource = EventSource;

let pages = 0;
let domain;
let client;
let happened;
let requests;

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function until(condition, seconds) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s`);
    await pause(5);
  }
}

const recording = (answered) => async (request, options) => {
  const response = await fetch(request, options);
  answered.push({
    query: new URL(request.url).search,
    known: request.headers.get("If-None-Match"),
    status: response.status,
    etag: response.headers.get("ETag"),
  });
  return response;
};

await runCommands({
  async start({ url, token, context, options }) {
    await OpenFeature.clearProviders();
    const events = (happened = []);
    const answered = (requests = []);
    domain = `page-${++pages}`;
    client = OpenFeature.getClient(domain);
    for (const [name, event] of Object.entries(ProviderEvents)) {
      client.addHandler(event, (details) =>
        events.push({ name, flags: details?.flagsChanged, message: details?.message }),
      );
    }
    const provider = new OFREPWebProvider({
      baseUrl: url,
      headers: [["Authorization", `Bearer ${token}`]],
      cacheMode: "disabled",
      fetchImplementation: recording(answered),
      ...options,
    });
    reportOutcomes(provider, { server: url, token });
    await OpenFeature.setProviderAndWait(domain, provider, context);
  },
  context: ({ context }) => OpenFeature.setContext(domain, context),
  details: (request) => details(client, request),
  status: () => client.providerStatus,
  requests: () => requests,
  events: () => happened,
  event: ({ name, seconds = 50 }) =>
    until(() => {
      const at = happened.findIndex((each) => each.name === name);
      return at < 0 ? undefined : happened.splice(at, 1)[0];
    }, seconds),
  value: ({ key, value, seconds = 50 }) =>
    until(() => client.getBooleanValue(key, !value) === value, seconds),
  request: ({ status, seconds = 50 }) =>
    until(() => {
      const at = requests.findIndex((each) => each.status === status);
      return at < 0 ? undefined : requests.splice(at, 1)[0];
    }, seconds),
  track: ({ event }) => client.track(event, { duration_ms: 12.5, basket_value: 7 }),
  async stop() {
    await OpenFeature.clearProviders();
  },
});
