// virtual-core asks `process.env.NODE_ENV` what every bundler would have answered for it.
/** @type {{ process?: unknown }} */ (globalThis).process ??= { env: { NODE_ENV: "production" } };
