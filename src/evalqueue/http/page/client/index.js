export { createClient, jobsApi } from "./client.js";
export { ApiError } from "./errors.js";
export { randomKey, } from "./jobs.js";
export { isOver } from "./watch.js";
