const PATH = "/api/session";
export function session(line) {
    return {
        get: ({ signal } = {}) => line.ask(PATH, { signal }),
        signIn: (token, { signal } = {}) => line.ask(PATH, { method: "POST", body: { token }, signal }),
        async signOut({ signal } = {}) {
            await line.ask(PATH, { method: "DELETE", signal });
        },
    };
}
