// Pictures of figures, as plain HTML and SVG: they follow the theme, scale, and can be read aloud.

import { html, nothing, svg } from "./vendor/lit-html/lit-html.js";
import { styles } from "./styles.js";
import * as format from "./format.js";
import { said, tone } from "./verdicts.js";

/**
 * How often each verdict was found, with 95 % intervals.
 * @param {{ verdict: string, count: number, share: number | null, low: number | null, high: number | null }[]} shares
 * @param {number} unmeasured
 */
export function distribution(shares, unmeasured) {
  const rows = shares.map(
    ({ verdict, count, share, low, high }) =>
      html` <span>${said(verdict)}</span>
        <span class="bar tone-${tone(verdict)}">
          <span class="fill" style=${styles({ width: `${(share ?? 0) * 100}%` })}></span>
          ${
            low == null || high == null
              ? nothing
              : html` <span
                  class="interval"
                  style=${styles({
                    "inset-inline-start": `${low * 100}%`,
                    "width": `${(high - low) * 100}%`,
                  })}
                ></span>`
          }
        </span>
        <span
          class="value"
          title=${
            low == null
              ? nothing
              : `95 % interval: ${format.percent(low)} to ${format.percent(high)}`
          }
        >
          ${format.count(count)} <span class="quiet">${format.percent(share)}</span>
          ${
            low == null
              ? nothing
              : html`<span class="visually-hidden"
                  >, 95 % interval ${format.percent(low)} to ${format.percent(high)}</span
                >`
          }
        </span>`,
  );
  return html`<div class="bars">${rows}</div>
    ${
      unmeasured > 0
        ? html`<p class="hint">
            ${format.plural(unmeasured, "conversation")} not measured, in no share
          </p>`
        : nothing
    }`;
}

/**
 * Which intent was expected, and which was found.
 * @param {{ labels: string[], matrix: number[][] }} found
 */
export function confusion({ labels, matrix }) {
  return html`<div
      class="scroll"
      tabindex="0"
      role="region"
      aria-label="Confusion matrix of intents"
    >
      <table class="matrix">
        <caption class="visually-hidden">
          Rows: the intent that the router chose. Columns: the intent that the judge found.
        </caption>
        <thead>
          <tr>
            <td></td>
            ${labels.map((label) => html`<th scope="col" title=${label}>${label}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${matrix.map((row, i) => {
            const sum = row.reduce((a, b) => a + b, 0);
            return html`<tr>
              <th scope="row" title=${labels[i]}>${labels[i]}</th>
              ${row.map(
                (n, j) =>
                  html`<td
                    class=${n === 0 ? "" : i === j ? "hit" : "miss"}
                    style=${styles({ "--share": sum ? `${n / sum}` : "0" })}
                    title="${labels[i]} → ${labels[j]}: ${n} of ${sum}"
                  >
                    ${n || html`<span class="quiet">·</span>`}
                  </td>`,
              )}
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
    <p class="hint">Rows: what the router chose. Columns: what the judge found.</p>`;
}

const SERIES = ["a", "b", "c", "d"];

/**
 * How long calls took: stacked counts over logarithmic bins.
 * @param {{ edges_ms: number[], counts: Record<string, number[]> }} latency
 */
export function latency({ edges_ms: edges, counts }) {
  const names = Object.keys(counts);
  const bins = Math.max(0, edges.length - 1);
  if (!names.length || !bins) return html`<p class="hint">No call has been answered yet.</p>`;
  const totals = Array.from({ length: bins }, (_, i) =>
    names.reduce((sum, name) => sum + (counts[name]?.[i] ?? 0), 0),
  );
  const most = Math.max(1, ...totals);
  const [width, height, foot] = [480, 130, 18];
  const step = width / bins;
  const drawn = totals.map((_, i) => {
    let top = height;
    return names.map((name, k) => {
      const tall = ((counts[name]?.[i] ?? 0) / most) * height;
      top -= tall;
      return svg`<rect class=${SERIES[k % 4]} x=${i * step + 0.5} y=${top} width=${Math.max(1, step - 1)} height=${tall}>
        <title>${name}: ${counts[name]?.[i] ?? 0} calls of ${format.milliseconds(
          edges[i],
        )} to ${format.milliseconds(edges[i + 1])}</title></rect>`;
    });
  });
  const marks = [0, Math.floor(bins / 2), bins].map(
    (i) => svg`
    <text x=${i * step} y=${height + 14} text-anchor=${
      i === 0 ? "start" : i === bins ? "end" : "middle"
    }>${format.milliseconds(edges[i])}</text>`,
  );
  return html`<svg
      class="chart"
      viewBox="0 0 ${width} ${height + foot}"
      role="img"
      aria-label="Latency of LLM calls, a histogram"
    >
      ${drawn}
      <line class="axis" x1="0" x2=${width} y1=${height} y2=${height} stroke="currentColor"></line>
      ${marks}
    </svg>
    ${legend(names)}`;
}

/** @param {string[]} names */
function legend(names) {
  return html`<div class="legend">
    ${names.map((name, k) => html`<span class=${SERIES[k % 4]}>${name}</span>`)}
  </div>`;
}

/**
 * Tokens over time, as bars.
 * @param {{ at: string, tokens_in: number | null, tokens_out: number | null, calls: number, failed_calls: number }[]} timeline
 */
export function tokens(timeline) {
  if (!timeline.length) return html`<p class="hint">No call has been made yet.</p>`;
  const [width, height, foot] = [480, 130, 18];
  const step = width / timeline.length;
  if (timeline.every((each) => each.tokens_in == null && each.tokens_out == null)) {
    return html`<p class="hint">No call said how many tokens it took.</p>`;
  }
  const sum = timeline.map((each) => (each.tokens_in ?? 0) + (each.tokens_out ?? 0));
  const most = Math.max(1, ...sum);
  const drawn = timeline.map((each, i) => {
    const inside = ((each.tokens_in ?? 0) / most) * height;
    const out = ((each.tokens_out ?? 0) / most) * height;
    const wide = Math.max(1, step - 1);
    return svg`
      <rect class="a" x=${i * step} y=${height - inside} width=${wide} height=${inside}></rect>
      <rect class="c" x=${i * step} y=${height - inside - out} width=${wide} height=${out}>
        <title>${format.moment(each.at)}: ${each.calls} calls, ${format.count(each.tokens_in)} tokens in, ${format.count(
          each.tokens_out,
        )} out</title></rect>`;
  });
  return html`<svg
      class="chart"
      viewBox="0 0 ${width} ${height + foot}"
      role="img"
      aria-label="Tokens over time"
    >
      ${drawn}
      <line class="axis" x1="0" x2=${width} y1=${height} y2=${height} stroke="currentColor"></line>
      <text x="0" y=${height + 14}>${format.moment(timeline[0]?.at)}</text>
      <text x=${width} y=${height + 14} text-anchor="end">
        most at once: ${format.compact(most)}
      </text>
    </svg>
    <div class="legend"><span class="a">tokens in</span><span class="c">tokens out</span></div>`;
}

/**
 * Rates with their intervals, one line each (attack success by trait, tactic, difficulty).
 * @param {{ name: string, broken: number, judged: number, rate: number | null, low: number | null, high: number | null }[]} rows
 */
export function rates(rows) {
  return html`<div class="bars">
    ${rows.map(
      ({ name, broken, judged, rate, low, high }) =>
        html` <span>${name}</span>
          <span class="bar tone-bad">
            <span class="fill" style=${styles({ width: `${(rate ?? 0) * 100}%` })}></span>
            ${
              low == null || high == null
                ? nothing
                : html` <span
                    class="interval"
                    style=${styles({
                      "inset-inline-start": `${low * 100}%`,
                      "width": `${(high - low) * 100}%`,
                    })}
                  ></span>`
            }
          </span>
          <span
            class="value"
            title=${
              low == null
                ? nothing
                : `95 % interval: ${format.percent(low)} to ${format.percent(high)}`
            }
            >${broken} of ${judged}</span
          >`,
    )}
  </div>`;
}
