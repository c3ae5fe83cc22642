// Charts as plain HTML and SVG: they follow the theme, scale with the text, and screen readers can
// read them.

import { label, tone } from "../format/labels.js";
import * as format from "../format/values.js";
import { styles } from "../lib/styles.js";
import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {object} Interval 95 %
 * @property {number | null} low
 * @property {number | null} high
 *
 * @typedef {{ label: string, tone?: string, count: number, share: number | null } & Interval} LabelShare
 * @typedef {{ name: string, broken: number, judged: number, rate: number | null } & Interval} Rate
 */

/**
 * How often each label was given, with 95 % intervals.
 * @param {LabelShare[]} shares
 * @param {number} unmeasured conversations without a label
 */
export function distribution(shares, unmeasured) {
  const rows = shares.map(
    ({ label: word, tone: toneName = tone(word), count, share, low, high }) =>
      html`<span>${label(word)}</span>
        ${bar(toneName, share, { low, high })}
        <span class="value" title=${intervalText({ low, high }) ?? nothing}>
          ${format.count(count)} <span class="quiet">${format.percent(share)}</span>
          ${
            low == null
              ? nothing
              : html`<span class="visually-hidden">, ${intervalText({ low, high })}</span>`
          }
        </span>`,
  );
  return html`<div class="bars">${rows}</div>
    ${
      unmeasured > 0
        ? html`<p class="hint">
            ${format.plural(unmeasured, "conversation")} not measured, excluded from every share
          </p>`
        : nothing
    }`;
}

/** @param {string} toneName @param {number | null} share @param {Interval} interval */
function bar(toneName, share, { low, high }) {
  return html`<span class="bar tone-${toneName}">
    <span class="fill" style=${styles({ width: `${(share ?? 0) * 100}%` })}></span>
    ${
      low == null || high == null
        ? nothing
        : html`<span
            class="interval"
            style=${styles({
              "inset-inline-start": `${low * 100}%`,
              "width": `${(high - low) * 100}%`,
            })}
          ></span>`
    }
  </span>`;
}

/** @param {Interval} interval */
function intervalText({ low, high }) {
  return low == null ? null : `95 % interval: ${format.percent(low)} to ${format.percent(high)}`;
}

/**
 * A confusion matrix: labels on record against the judge's. Labels and counts are links to their
 * conversations.
 * @param {string} title
 * @param {{ labels: string[], matrix: number[][] }} figures
 * @param {(pair: { expected?: string, value?: string }) => string} hrefOf
 */
export function confusion(title, { labels, matrix }, hrefOf) {
  return html`<div
      class="scroll"
      tabindex="0"
      role="region"
      aria-label="Confusion matrix: ${title}"
    >
      <table class="matrix confusion">
        <caption class="visually-hidden">
          Rows: the label on record. Columns: the label that the judge gave.
        </caption>
        <thead>
          <tr>
            <td></td>
            ${labels.map(
              (label) =>
                html`<th scope="col" title=${label}>
                  <a href=${hrefOf({ value: label })}>${label}</a>
                </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${matrix.map((row, i) => {
            const sum = row.reduce((a, b) => a + b, 0);
            return html`<tr>
              <th scope="row" title=${labels[i]}>
                <a href=${hrefOf({ expected: labels[i] })}>${labels[i]}</a>
              </th>
              ${row.map(
                (n, j) =>
                  html`<td
                    class=${n === 0 ? "" : i === j ? "hit" : "miss"}
                    style=${styles({ "--share": sum ? `${n / sum}` : "0" })}
                    title="${labels[i]} → ${labels[j]}: ${n} of ${sum}"
                  >
                    ${
                      n
                        ? html`<a href=${hrefOf({ expected: labels[i], value: labels[j] })}
                            >${n}</a
                          >`
                        : html`<span class="quiet">·</span>`
                    }
                  </td>`,
              )}
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
    <p class="hint">
      Rows: the label on record. Columns: the judge's. A number leads to its conversations.
    </p>`;
}

const SERIES = ["a", "b", "c", "d"];

/**
 * The duration of calls: a stacked histogram with logarithmic bins.
 * @param {{ edges_ms: number[], counts: Record<string, number[]> }} latency
 */
export function latency({ edges_ms: edges, counts }) {
  const names = Object.keys(counts);
  const bins = Math.max(0, edges.length - 1);
  if (!names.length || !bins) return html`<p class="hint">No call is answered yet.</p>`;
  const totals = Array.from({ length: bins }, (_, i) =>
    names.reduce((sum, name) => sum + (counts[name]?.[i] ?? 0), 0),
  );
  const most = Math.max(1, ...totals);
  const [width, height, footHeight] = [480, 130, 18];
  const step = width / bins;
  const bars = totals.map((_, i) => {
    let top = height;
    return names.map((name, k) => {
      const count = counts[name]?.[i] ?? 0;
      const barHeight = (count / most) * height;
      top -= barHeight;
      const range = `${format.milliseconds(edges[i])} to ${format.milliseconds(edges[i + 1])}`;
      return svg`
        <rect
          class=${SERIES[k % SERIES.length]}
          x=${i * step + 0.5}
          y=${top}
          width=${Math.max(1, step - 1)}
          height=${barHeight}
        >
          <title>${name}: ${count} calls of ${range}</title>
        </rect>`;
    });
  });
  const marks = [0, Math.floor(bins / 2), bins].map((i) => {
    const anchor = i === 0 ? "start" : i === bins ? "end" : "middle";
    return svg`
      <text x=${i * step} y=${height + 14} text-anchor=${anchor}>
        ${format.milliseconds(edges[i])}
      </text>`;
  });
  return html`<svg
      class="chart"
      viewBox="0 0 ${width} ${height + footHeight}"
      role="img"
      aria-label="Latency of LLM calls, a histogram"
    >
      ${bars}
      <line class="axis" x1="0" x2=${width} y1=${height} y2=${height} stroke="currentColor"></line>
      ${marks}
    </svg>
    ${legend(names)}`;
}

/** @param {string[]} names */
function legend(names) {
  return html`<div class="legend">
    ${names.map((name, k) => html`<span class=${SERIES[k % SERIES.length]}>${name}</span>`)}
  </div>`;
}

/**
 * Tokens over time, as stacked bars.
 * @param {import("../client/index.js").LlmStatistics["timeline"]} timeline
 */
export function tokens(timeline) {
  if (!timeline.length) return html`<p class="hint">No call is made yet.</p>`;
  const [width, height, footHeight] = [480, 130, 18];
  const step = width / timeline.length;
  if (timeline.every((each) => each.tokens_in == null && each.tokens_out == null)) {
    return html`<p class="hint">No call reported its tokens.</p>`;
  }
  const sum = timeline.map((each) => (each.tokens_in ?? 0) + (each.tokens_out ?? 0));
  const most = Math.max(1, ...sum);
  const bars = timeline.map((each, i) => {
    const heightIn = ((each.tokens_in ?? 0) / most) * height;
    const heightOut = ((each.tokens_out ?? 0) / most) * height;
    const x = i * step;
    const barWidth = Math.max(1, step - 1);
    const tokensIn = `${format.count(each.tokens_in)} tokens in`;
    const tokensOut = `${format.count(each.tokens_out)} out`;
    return svg`
      <rect class="a" x=${x} y=${height - heightIn} width=${barWidth} height=${heightIn}></rect>
      <rect
        class="c"
        x=${x}
        y=${height - heightIn - heightOut}
        width=${barWidth}
        height=${heightOut}
      >
        <title>${format.moment(each.at)}: ${each.calls} calls, ${tokensIn}, ${tokensOut}</title>
      </rect>`;
  });
  return html`<svg
      class="chart"
      viewBox="0 0 ${width} ${height + footHeight}"
      role="img"
      aria-label="Tokens over time"
    >
      ${bars}
      <line class="axis" x1="0" x2=${width} y1=${height} y2=${height} stroke="currentColor"></line>
      <text x="0" y=${height + 14}>${format.moment(timeline[0]?.at)}</text>
      <text x=${width} y=${height + 14} text-anchor="end">
        most at once: ${format.compact(most)}
      </text>
    </svg>
    <div class="legend"><span class="a">tokens in</span><span class="c">tokens out</span></div>`;
}

/**
 * Success rates of attacks, one bar for each trait, tactic or difficulty.
 * @param {Rate[]} rows
 */
export function rates(rows) {
  return html`<div class="bars">
    ${rows.map(
      ({ name, broken, judged, rate, low, high }) =>
        html`<span>${name}</span>
          ${bar("bad", rate, { low, high })}
          <span class="value" title=${intervalText({ low, high }) ?? nothing}
            >${broken} of ${judged}</span
          >`,
    )}
  </div>`;
}
