// File uploads that report their progress.
import { ApiError, responseError } from "./errors.js";
import { parseJson, connectionError } from "./transport.js";
/**
 * Uploads a file. In browsers, XMLHttpRequest reports the progress. Elsewhere `fetch` is used, and
 * `onProgress` is called at the start and at the end only.
 */
export async function upload(transport, path, options) {
    options.signal?.throwIfAborted();
    const form = new FormData();
    for (const [name, value] of Object.entries(options.fields))
        form.set(name, value);
    form.set("file", options.file, options.fileName); // after the fields that describe it
    const { size } = options.file;
    options.onProgress?.(0, size);
    return sending(options.file, async () => {
        if (options.onProgress && typeof XMLHttpRequest !== "undefined" && !transport.hasCustomFetch) {
            return uploadWithProgress(transport, path, form, options);
        }
        const { signal } = options;
        const response = await transport.request(path, { method: "POST", body: form, signal });
        options.onProgress?.(size, size);
        return response;
    });
}
/**
 * Makes a request that sends a file. Browsers report a file that can't be read as a request that
 * failed; here it is a TypeError of its own, since the same request would fail again.
 */
export async function sending(file, request) {
    try {
        return await request();
    }
    catch (error) {
        if (file && error instanceof ApiError && error.status === 0)
            await assertReadable(file);
        throw error;
    }
}
async function assertReadable(file) {
    try {
        await file.slice(0, 1).arrayBuffer();
    }
    catch (cause) {
        const message = "The file can't be read: it is a folder, or was changed or removed since. Choose it again";
        throw new TypeError(message, { cause });
    }
}
function uploadWithProgress(transport, path, form, options) {
    const { signal, onProgress } = options;
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    return new Promise((resolve, reject) => {
        request.open("POST", transport.url(path));
        for (const [name, value] of Object.entries(transport.authorization())) {
            request.setRequestHeader(name, value);
        }
        request.setRequestHeader("Accept", "application/json");
        request.upload.onprogress = ({ loaded, total }) => {
            // The form is a little larger than the file that it contains.
            const { size } = options.file;
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
                    throw responseError({ status, statusText, headers }, responseText);
                resolve(parseJson(status, responseText));
            }
            catch (error) {
                reject(error);
            }
        };
        request.onerror = () => reject(connectionError(new TypeError("The upload was cut off"), signal));
        request.onabort = () => reject(signal?.reason);
        signal?.addEventListener("abort", abort, { once: true });
        request.send(form);
    }).finally(() => signal?.removeEventListener("abort", abort));
}
