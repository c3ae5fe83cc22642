// The public names of the package.
export { createClient, jobsApi } from "./client.js";
export { ApiError } from "./errors.js";
export { isOver } from "./watch.js";
