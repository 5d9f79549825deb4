// The OpenFeature client for Node, asking one flag at a time.

import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature } from "@openfeature/server-sdk";
import { ask, obey } from "./driver.mjs";

let client;

await obey({
  async start({ url, token }) {
    const headers = [["Authorization", `Bearer ${token}`]];
    await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers }));
    client = OpenFeature.getClient();
  },
  details: (question) => ask(client, question),
});
