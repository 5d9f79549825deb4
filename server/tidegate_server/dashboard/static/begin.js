// An application that waits too long for its first evaluation: what to check opens by itself.

const PATIENCE_MS = 60_000;

setTimeout(() => document.getElementById("hints")?.setAttribute("open", ""), PATIENCE_MS);
