// One app: its document, its versions, and how two versions differ.

import { age, badge, banner } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function appView(app, { params, query, signal }) {
  const appId = params.id ?? "";
  const owner = query.get("owner") ?? undefined;
  const version = Number(query.get("version")) || undefined;
  const since = Number(query.get("since")) || undefined;
  /** @type {import("../client/index.js").AppDetails | null} */
  let shown = null;
  let notation = "toml";
  /** @type {unknown} */
  let loadError = null;

  async function load() {
    try {
      const loaded = await app.api.apps.get(appId, { owner, version, since, signal });
      if (signal.aborted) return;
      shown = loaded;
    } catch (error) {
      if (signal.aborted) return;
      loadError = app.reportError(error);
    }
    app.refresh();
  }
  void load();

  async function remove() {
    if (!shown) return;
    const text = `Remove ${shown.name} with all its versions? Runs that used it keep its content.`;
    if (!confirm(text)) return;
    await app.attempt(async () => {
      await app.api.apps.remove(appId, { owner });
      app.toast(`Removed: ${appId}`);
      app.go("/apps");
    }, signal);
  }

  /** @param {Record<string, string | number>} wanted */
  function path(wanted) {
    const entries = Object.entries({ ...(owner ? { owner } : {}), ...wanted });
    const search = new URLSearchParams(entries.map(([name, value]) => [name, String(value)]));
    return `/apps/${encodeURIComponent(appId)}?${search}`;
  }

  return {
    title: appId,
    render: () =>
      html`<nav class="crumbs small" aria-label="Breadcrumb">
          <a href=${address("/apps")}>Apps</a><span>${appId}</span>
        </nav>
        ${loadError ? banner("failed", "The app can't be read", errorText(loadError)) : nothing}
        ${shown ? details(shown) : nothing}`,
  };

  /** @param {import("../client/index.js").AppDetails} of */
  function details(of) {
    return html`<div class="page-head">
        <div>
          <h1>${of.name}</h1>
          <p class="quiet small">
            <span class="mono">${of.app_id}</span> ·
            ${of.owner ? html`version ${of.version} of ${of.owner}` : "shipped with evalqueue"}
          </p>
        </div>
        ${actions(of)}
      </div>
      <div class="stack">
        <section class="card stack-tight" aria-label="About">
          <p class="text">${of.about}</p>
          <p class="row">${of.evaluators.map((name) => badge(name))}</p>
        </section>
        ${of.changes ? changed(of.changes) : nothing} ${of.versions.length ? versions(of) : nothing}
        ${document_(of)}
      </div>`;
  }

  /** @param {import("../client/index.js").AppDetails} of */
  function actions(of) {
    if (app.session?.right === "read") return nothing;
    const id = encodeURIComponent(of.app_id);
    return html`<div class="row">
      ${
        of.owner
          ? html`<a class="button primary" href=${address(`/apps/${id}/edit`)}>Edit</a>`
          : html`<span class="quiet small">Shipped apps can't be changed.</span>`
      }
      <a class="button" href=${address(`/new-app?copy=${id}`)}>Copy</a>
      ${
        of.owner
          ? html`<button type="button" class="danger" @click=${remove}>Remove</button>`
          : nothing
      }
    </div>`;
  }

  /** @param {string[]} lines */
  function changed(lines) {
    return html`<section class="card stack-tight" aria-label="Changes" id="changes">
      <h2>What changed from version ${since} to ${shown?.version}</h2>
      ${
        lines.length
          ? html`<ul class="diff">
              ${lines.map(
                (line) =>
                  html`<li class=${line.startsWith("+") ? "added" : "removed"}>
                    <code>${line}</code>
                  </li>`,
              )}
            </ul>`
          : html`<p class="quiet">Nothing.</p>`
      }
    </section>`;
  }

  /** @param {import("../client/index.js").AppDetails} of */
  function versions(of) {
    return html`<section class="card flush" aria-label="Versions">
      <table class="table">
        <caption class="visually-hidden">
          Versions
        </caption>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Stored</th>
            <th scope="col"><span class="visually-hidden">Changes</span></th>
          </tr>
        </thead>
        <tbody>
          ${repeat(
            of.versions,
            (each) => each.version,
            (each) =>
              html`<tr>
                <td>
                  <a
                    href=${address(path({ version: each.version }))}
                    aria-current=${each.version === of.version ? "true" : nothing}
                    >${each.version}</a
                  >
                </td>
                <td class="nowrap">${age(each.created_at, app.now)}</td>
                <td class="right">
                  ${
                    each.version > 1
                      ? html`<a
                          href=${address(path({ version: each.version, since: each.version - 1 }))}
                          >What changed<span class="visually-hidden">
                            in version ${each.version}</span
                          ></a
                        >`
                      : nothing
                  }
                </td>
              </tr>`,
          )}
        </tbody>
      </table>
    </section>`;
  }

  /** @param {import("../client/index.js").AppDetails} of */
  function document_(of) {
    const text =
      notation === "json"
        ? JSON.stringify(of.document, null, 2)
        : notation === "yaml"
          ? of.yaml
          : of.toml;
    return html`<section class="card stack-tight" aria-label="Document">
      <div class="row-wide">
        <h2>Document</h2>
        <div class="chips" role="group" aria-label="Notation">
          ${["toml", "yaml", "json"].map(
            (name) =>
              html`<button
                type="button"
                class="chip"
                aria-pressed=${notation === name}
                @click=${() => {
                  notation = name;
                  app.refresh();
                }}
              >
                ${name.toUpperCase()}
              </button>`,
          )}
        </div>
      </div>
      <pre class="scroll" tabindex="0" aria-label="The document"><code>${text}</code></pre>
    </section>`;
  }
}
