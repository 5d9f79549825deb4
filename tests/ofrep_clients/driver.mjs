// Reads commands, one line of JSON each, and answers each with one line.

import { createInterface } from "node:readline";

export async function obey(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: what, ...args } = JSON.parse(line);
    let answer;
    try {
      answer = { done: (await commands[what](args)) ?? null };
    } catch (error) {
      answer = { failed: { name: error.name, message: String(error.message), code: error.code } };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.exit(0);
}

const ASK = {
  boolean: "getBooleanDetails",
  string: "getStringDetails",
  number: "getNumberDetails",
  object: "getObjectDetails",
};

export async function ask(client, { type, key, fallback, context }) {
  const details = await client[ASK[type]](key, fallback, context);
  return { ...details, flagMetadata: { ...details.flagMetadata } };
}
