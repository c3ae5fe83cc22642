import { piece } from "./line.js";
export function queues(line) {
    const change = (queue, how, { signal } = {}) => line.ask(`/api/queues/${piece(queue)}/${how}`, { method: "POST", signal });
    return {
        list: ({ signal } = {}) => line.ask("/api/queues", { signal }),
        pause: (queue, options) => change(queue, "pause", options),
        resume: (queue, options) => change(queue, "resume", options),
    };
}
export function workers(line) {
    return { list: ({ signal } = {}) => line.ask("/api/workers", { signal }) };
}
