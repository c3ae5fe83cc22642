// `process.env.NODE_ENV`, which virtual-core reads and bundlers would replace.
/** @type {{ process?: unknown }} */ (globalThis).process ??= { env: { NODE_ENV: "production" } };
