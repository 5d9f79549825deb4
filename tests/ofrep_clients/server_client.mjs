// OpenFeature's client for Node.js, which evaluates one flag per request.

import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature } from "@openfeature/server-sdk";
import { details, runCommands } from "./driver.mjs";

let client;

await runCommands({
  async start({ url, token }) {
    const headers = [["Authorization", `Bearer ${token}`]];
    await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers }));
    client = OpenFeature.getClient();
  },
  details: (request) => details(client, request),
});
