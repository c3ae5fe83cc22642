// A file on its way to the server, and how far it is.
import { refusal } from "./errors.js";
import { parsed, unreachable } from "./line.js";
/**
 * Browsers tell how far an upload is to XMLHttpRequest only. Elsewhere the file is told to be there
 * once it is: that platform's fetch doesn't say.
 */
export async function upload(line, path, sent) {
    sent.signal?.throwIfAborted();
    const form = new FormData();
    for (const [name, value] of Object.entries(sent.fields))
        form.set(name, value);
    form.set("file", sent.file, sent.fileName); // last: what it is has been said by then
    const { size } = sent.file;
    sent.onProgress?.(0, size);
    if (sent.onProgress && typeof XMLHttpRequest !== "undefined" && !line.isCustom) {
        return watched(line, path, form, sent);
    }
    const told = await line.ask(path, { method: "POST", body: form, signal: sent.signal });
    sent.onProgress?.(size, size);
    return told;
}
function watched(line, path, form, sent) {
    const { signal, onProgress } = sent;
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    return new Promise((resolve, reject) => {
        request.open("POST", line.url(path));
        for (const [name, value] of Object.entries(line.authorization())) {
            request.setRequestHeader(name, value);
        }
        request.setRequestHeader("Accept", "application/json");
        request.upload.onprogress = ({ loaded, total }) => {
            // The form around the file is a little longer than the file.
            const { size } = sent.file;
            onProgress?.(total > 0 ? Math.min(size, Math.round((loaded / total) * size)) : 0, size);
        };
        request.onload = () => {
            const { status, statusText, responseText } = request;
            const headers = new Headers();
            const retryAfter = request.getResponseHeader("Retry-After");
            if (retryAfter !== null)
                headers.set("Retry-After", retryAfter);
            try {
                if (status >= 400)
                    throw refusal(status, statusText, headers, responseText);
                resolve(parsed(status, responseText));
            }
            catch (error) {
                reject(error);
            }
        };
        request.onerror = () => reject(unreachable(new TypeError("The upload was cut off"), signal));
        request.onabort = () => reject(signal?.reason);
        signal?.addEventListener("abort", abort, { once: true });
        request.send(form);
    }).finally(() => signal?.removeEventListener("abort", abort));
}
