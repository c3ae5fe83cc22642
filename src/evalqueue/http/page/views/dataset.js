// One dataset: what is in it, and its conversations.

import { age, banner, figure } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const PAGE_SIZE = 200;

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function datasetView(app, { params, signal }) {
  const id = params.id ?? "";
  /** @type {import("../client/index.js").Dataset | null} */
  let dataset = null;
  /** @type {import("../client/index.js").DatasetThread[]} */
  let threads = [];
  /** @type {unknown} */
  let loadError = null;

  async function loadMore() {
    try {
      const [found, page] = await Promise.all([
        dataset ?? app.api.datasets.get(id, { signal }),
        app.api.datasets.threads(id, {
          after: threads.at(-1)?.position ?? 0,
          limit: PAGE_SIZE,
          signal,
        }),
      ]);
      if (signal.aborted) return;
      dataset = found;
      threads = [...threads, ...page.threads];
      loadError = null;
    } catch (error) {
      if (signal.aborted) return;
      loadError = app.reportError(error);
    }
    app.refresh();
  }
  void loadMore();

  return {
    get title() {
      return dataset?.name ?? "Dataset";
    },
    render: () =>
      html`<nav class="crumbs small" aria-label="Breadcrumb">
          <a href=${address("/datasets")}>Datasets</a
          ><span>${dataset?.name ?? format.shortId(id)}</span>
        </nav>
        ${loadError ? banner("failed", "The dataset can't be read", errorText(loadError)) : nothing}
        ${dataset ? details(dataset) : nothing}`,
  };

  /** @param {import("../client/index.js").Dataset} of */
  function details(of) {
    const encoded = encodeURIComponent(of.id);
    const intents = Object.entries(of.intents);
    return html`<div class="page-head">
        <div>
          <h1>${of.name}</h1>
          <p class="quiet small">
            <span class="mono">${format.shortId(of.id)}</span> · ${of.format} · ${of.owner} · added
            ${age(of.created_at, app.now)}
          </p>
        </div>
        ${
          app.session?.right === "read"
            ? nothing
            : html`<div class="row">
                <a class="button" href=${address(`/new-app?dataset=${encoded}`)}>Draft an app</a>
                <a class="button primary" href=${address(`/new?dataset=${encoded}`)}>Evaluate</a>
              </div>`
        }
      </div>
      <div class="stack">
        <section class="card grid narrow" aria-label="What is in it">
          ${figure("Conversations", format.count(of.threads))}
          ${figure("Messages", format.count(of.messages))}
          ${figure("Users", format.count(of.users))}
          ${figure("Dates", format.dayRange(of.first_at, of.last_at))}
        </section>
        ${
          intents.length
            ? html`<section class="card stack-tight" aria-label="Recorded intents">
                <h2>Recorded intents</h2>
                <p class="row">
                  ${intents.map(
                    ([name, count]) =>
                      html`<span class="small">${name} <span class="quiet">${count}</span></span>`,
                  )}
                </p>
              </section>`
            : nothing
        }
        ${table(of)}
      </div>`;
  }

  /** @param {import("../client/index.js").Dataset} of */
  function table(of) {
    return html`<div class="card flush">
        <div class="scroll" tabindex="0" role="region" aria-label="Conversations">
          <table class="table cards">
            <caption class="visually-hidden">
              Conversations
            </caption>
            <thead>
              <tr>
                <th scope="col">First message</th>
                <th scope="col" class="num">Messages</th>
                <th scope="col">User</th>
                <th scope="col">Began</th>
              </tr>
            </thead>
            <tbody>
              ${repeat(
                threads,
                ({ position }) => position,
                (each) =>
                  html`<tr>
                    <td class="grow">
                      ${each.opening}
                      <div class="small quiet mono">${each.thread_id}</div>
                    </td>
                    <td data-label="Messages" class="num">${format.count(each.messages)}</td>
                    <td data-label="User" class="small">${each.user_id}</td>
                    <td data-label="Began" class="nowrap small">
                      ${each.first_at ? format.moment(each.first_at) : format.NOTHING}
                    </td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </div>
      ${
        threads.length < of.threads
          ? html`<p><button type="button" @click=${loadMore}>Show more</button></p>`
          : nothing
      }`;
  }
}
