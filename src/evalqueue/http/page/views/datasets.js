// The stored datasets.

import { age, banner, empty, loading } from "../components/basics.js";
import { newEvaluationLink } from "../components/job-controls.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const PAGE_SIZE = 100;

/**
 * @param {import("../app.js").App} app @param {{ signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function datasets(app, { signal }) {
  /** @type {import("../client/index.js").Dataset[]} */
  let list = [];
  let isLoaded = false;
  let hasMore = false;
  /** @type {unknown} */
  let loadError = null;

  async function load(offset = 0) {
    try {
      const page = await app.api.datasets.list({ limit: PAGE_SIZE, offset });
      if (signal.aborted) return;
      list = offset ? [...list, ...page] : page;
      hasMore = page.length === PAGE_SIZE;
      loadError = null;
    } catch (error) {
      loadError = app.reportError(error);
    }
    isLoaded = true;
    app.refresh();
  }
  void load();

  /** @param {import("../client/index.js").Dataset} dataset */
  async function remove(dataset) {
    if (!confirm(`Remove ${dataset.name}? Runs keep their verdicts.`)) return;
    await app.attempt(async () => {
      await app.api.datasets.remove(dataset.id);
      app.toast(`Removed: ${dataset.name}`);
      await load();
    });
  }

  return {
    title: "Datasets",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>Datasets</h1>
            <p class="quiet small">
              Identified by their content: the same file uploaded twice is one dataset.
            </p>
          </div>
          ${newEvaluationLink(app)}
        </div>
        ${
          loadError ? banner("failed", "The datasets can't be read", errorText(loadError)) : nothing
        }
        ${
          list.length
            ? table()
            : loadError
              ? nothing
              : isLoaded
                ? empty(
                    "No datasets yet",
                    "Uploaded files are stored here.",
                    newEvaluationLink(app, "Add one"),
                  )
                : loading()
        }
        ${
          hasMore
            ? html`<p>
                <button type="button" @click=${() => load(list.length)}>Show more</button>
              </p>`
            : nothing
        }`,
  };

  function table() {
    const mayChange = app.session?.right !== "read";
    return html`<div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Datasets">
        <table class="table cards">
          <caption class="visually-hidden">
            Datasets
          </caption>
          <thead>
            <tr>
              <th scope="col">Dataset</th>
              <th scope="col" class="num">Conversations</th>
              <th scope="col" class="num">Messages</th>
              <th scope="col" class="num">Users</th>
              <th scope="col">Dates</th>
              <th scope="col" class="num">Size</th>
              <th scope="col">Added</th>
              <th scope="col"><span class="visually-hidden">Actions</span></th>
            </tr>
          </thead>
          <tbody>
            ${repeat(
              list,
              ({ id, owner }) => `${id} ${owner}`,
              (dataset) =>
                html`<tr>
                  <td>
                    <a class="strong" href=${address(`/datasets/${encodeURIComponent(dataset.id)}`)}
                      >${dataset.name}</a
                    >
                    <div class="small quiet">
                      <span class="mono">${format.shortId(dataset.id)}</span>
                      · ${dataset.format} · ${dataset.owner}
                    </div>
                  </td>
                  <td data-label="Conversations" class="num">${format.count(dataset.threads)}</td>
                  <td data-label="Messages" class="num">${format.count(dataset.messages)}</td>
                  <td data-label="Users" class="num">${format.count(dataset.users)}</td>
                  <td data-label="Dates" class="small">
                    ${format.dayRange(dataset.first_at, dataset.last_at)}
                  </td>
                  <td data-label="Size" class="num">${format.bytes(dataset.size_bytes)}</td>
                  <td data-label="Added" class="nowrap">${age(dataset.created_at, app.now)}</td>
                  <td class="right">
                    <div class="row">
                      ${
                        mayChange
                          ? html` <a
                                class="button tiny"
                                href=${address(`/new?dataset=${encodeURIComponent(dataset.id)}`)}
                                >Evaluate<span class="visually-hidden"> ${dataset.name}</span></a
                              >
                              <a
                                class="button tiny"
                                href=${address(`/new-app?dataset=${encodeURIComponent(dataset.id)}`)}
                                >Draft an app<span class="visually-hidden">
                                  of ${dataset.name}</span
                                ></a
                              >
                              <button
                                type="button"
                                class="tiny danger"
                                @click=${() => remove(dataset)}
                              >
                                Remove<span class="visually-hidden"> ${dataset.name}</span>
                              </button>`
                          : nothing
                      }
                    </div>
                  </td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </div>`;
  }
}
