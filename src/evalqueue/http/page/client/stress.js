import { piece } from "./line.js";
export function stress(line) {
    const path = (appId, caseId) => `/api/adversarial/cases/${piece(appId)}/${piece(caseId)}`;
    return {
        profile: (appId, { signal } = {}) => line.ask(`/api/adversarial/profiles/${piece(appId)}`, { signal }),
        cases: ({ signal, ...query } = {}) => line.ask("/api/adversarial/cases", { query, signal }),
        save: (appId, { signal, ...given }) => line.ask("/api/adversarial/cases", {
            method: "POST",
            body: { app_id: appId, ...given },
            signal,
        }),
        pin: (appId, caseId, { signal } = {}) => line.ask(`${path(appId, caseId)}/pin`, { method: "POST", signal }),
        unpin: (appId, caseId, { signal } = {}) => line.ask(`${path(appId, caseId)}/unpin`, { method: "POST", signal }),
        forget: (appId, caseId, { signal } = {}) => line.ask(path(appId, caseId), { method: "DELETE", signal }),
    };
}
