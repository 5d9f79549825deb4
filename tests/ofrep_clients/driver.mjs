// Runs commands from stdin, one line of JSON each, and writes one line of JSON per result.

import { createInterface } from "node:readline";

export async function runCommands(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: what, ...args } = JSON.parse(line);
    let result;
    try {
      result = { done: (await commands[what](args)) ?? null };
    } catch (error) {
      result = { failed: { name: error.name, message: String(error.message), code: error.code } };
    }
    process.stdout.write(JSON.stringify(result) + "\n");
  }
  process.exit(0);
}

const METHODS = {
  boolean: "getBooleanDetails",
  string: "getStringDetails",
  number: "getNumberDetails",
  object: "getObjectDetails",
};

export async function details(client, { type, key, fallback, context }) {
  const found = await client[METHODS[type]](key, fallback, context);
  return { ...found, flagMetadata: { ...found.flagMetadata } };
}
