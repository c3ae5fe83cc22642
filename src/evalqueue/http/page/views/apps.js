// The apps that can be evaluated: the shipped ones, and those that are stored.

import { age, banner } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/**
 * @param {import("../app.js").App} app @param {{ signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function apps(app, { signal }) {
  /** @type {import("../client/index.js").App[]} */
  let list = [];
  /** @type {unknown} */
  let loadError = null;
  const mayChange = () => app.session?.right !== "read";

  async function load() {
    try {
      const loaded = await app.api.apps.list({ signal });
      if (signal.aborted) return;
      list = loaded;
      loadError = null;
    } catch (error) {
      if (signal.aborted) return;
      loadError = app.reportError(error);
    }
    app.refresh();
  }
  void load();

  return {
    title: "Apps",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>Apps</h1>
            <p class="quiet small">
              An app describes a chatbot: its intents, its rules, and what it is judged by.
            </p>
          </div>
          ${mayChange() ? html`<a class="button primary" href=${address("/new-app")}>New app</a>` : nothing}
        </div>
        ${loadError ? banner("failed", "The apps can't be read", errorText(loadError)) : nothing}
        ${list.length ? table() : nothing}`,
  };

  function table() {
    return html`<div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Apps">
        <table class="table cards">
          <caption class="visually-hidden">
            Apps
          </caption>
          <thead>
            <tr>
              <th scope="col">App</th>
              <th scope="col">Evaluators</th>
              <th scope="col">Version</th>
              <th scope="col">Changed</th>
              <th scope="col"><span class="visually-hidden">Actions</span></th>
            </tr>
          </thead>
          <tbody>
            ${repeat(list, ({ app_id, owner }) => `${app_id} ${owner}`, row)}
          </tbody>
        </table>
      </div>
    </div>`;
  }

  /** @param {import("../client/index.js").App} each */
  function row(each) {
    return html`<tr>
      <td>
        <a class="strong" href=${address(appPath(each))}>${each.name}</a>
        <div class="small quiet"><span class="mono">${each.app_id}</span></div>
      </td>
      <td data-label="Evaluators" class="small">${each.evaluators.join(", ")}</td>
      <td data-label="Version" class="small">
        ${each.owner ? html`${each.version} · ${each.owner}` : "shipped"}
      </td>
      <td data-label="Changed" class="nowrap">
        ${each.created_at ? age(each.created_at, app.now) : format.NOTHING}
      </td>
      <td class="right">
        ${
          mayChange()
            ? html`<div class="row">
                ${
                  each.owner
                    ? html`<a class="button tiny" href=${address(editPath(each.app_id))}
                        >Edit<span class="visually-hidden"> ${each.name}</span></a
                      >`
                    : html`<a class="button tiny" href=${address(copyPath(each.app_id))}
                        >Copy<span class="visually-hidden"> ${each.name}</span></a
                      >`
                }
              </div>`
            : nothing
        }
      </td>
    </tr>`;
  }
}

/** @param {{ app_id: string, owner: string | null }} of */
function appPath({ app_id, owner }) {
  const query = owner ? `?owner=${encodeURIComponent(owner)}` : "";
  return `/apps/${encodeURIComponent(app_id)}${query}`;
}

/** @param {string} appId */
const editPath = (appId) => `/apps/${encodeURIComponent(appId)}/edit`;

/** @param {string} appId */
const copyPath = (appId) => `/new-app?copy=${encodeURIComponent(appId)}`;
