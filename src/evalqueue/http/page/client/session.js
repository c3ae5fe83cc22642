const PATH = "/api/session";
export function session(transport) {
    return {
        get: ({ signal } = {}) => transport.request(PATH, { signal }),
        signIn: (token, { signal } = {}) => transport.request(PATH, { method: "POST", body: { token }, signal }),
        async signOut({ signal } = {}) {
            await transport.request(PATH, { method: "DELETE", signal });
        },
    };
}
