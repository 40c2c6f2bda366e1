"""Style of the page: CSS, and a theme with the fonts of the reader's own machine."""

from typing import Any

import gradio as gr

CSS = """
.gradio-container { width: 100%; max-width: min(1280px, 100%) !important; margin: 0 auto !important; }
.gradio-container, .gradio-container .main, .gradio-container .wrap, .gradio-container .contain,
.gradio-container .tabs, .gradio-container .tabitem, .gradio-container .contain > .column,
.gradio-container .tabitem > .column { min-width: 0 !important; }
.gradio-container .main, .gradio-container .contain { width: 100%; box-sizing: border-box; }
.gradio-container .main { padding: 12px clamp(12px, 2.5vw, 32px) !important; }
.gradio-container .contain > .column { gap: 8px; }
#head h1 { margin: 0 0 2px; font-size: 1.5rem; }
#head p { margin: 0; color: var(--body-text-color-subdued); }
#matches .wrap { max-height: 10rem; overflow-y: auto; flex-direction: column; flex-wrap: nowrap; gap: 4px; }
#matches .wrap label { padding: 6px 10px; }
#matches .wrap label input { flex-shrink: 0; }
#history .token { height: auto; white-space: normal; text-align: left; }
#examples { flex-flow: row wrap !important; align-items: center; gap: 8px; }
#examples > * { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; max-width: 100%; }
#examples button { font-weight: 400; padding: 5px 12px; border-radius: 999px; white-space: normal; }
#recommend { align-items: flex-start; gap: 20px; }
#ask, #past { gap: 12px; }
#answer { padding: 0; border: 0; background: none; overflow: visible; }
#answer .html-container { padding: 0; }
#axes-table, #leaderboard-table { --font-mono: var(--font); --text-md: .9rem; font-variant-numeric: tabular-nums; }
#leaderboard-table th .cell-menu-button { display: flex; border: 0; background: none; }
#leaderboard-table th .header-content { padding-right: 1.2rem; }
#axes-plot img { width: 100%; max-width: 600px; border-radius: 8px; }
.mender-answer { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; align-items: start; }
.mender-list { border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden;
  background: var(--block-background-fill); }
.mender-list h3 { margin: 0; padding: 9px 12px; font-size: 1rem; color: var(--body-text-color);
  border-bottom: 1px solid var(--border-color-primary); }
.mender-list h3 small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: 8px; }
.mender-list ol { list-style: none; margin: 0; padding: 0; }
.mender-list li { margin: 0; color: var(--body-text-color); border-top: 1px solid var(--border-color-primary); }
.mender-list li:first-child { border-top: 0; }
.mender-list .row, .mender-list summary { display: grid; align-items: center; gap: 0 8px; padding: 7px 12px;
  grid-template: "place title move score" auto / 1.4rem 1fr auto 3.2rem; }
.mender-list summary { cursor: pointer; list-style: none; }
.mender-list summary::-webkit-details-marker { display: none; }
.mender-list summary:hover, .mender-list details[open] > summary { background: var(--background-fill-secondary); }
.mender-list summary:focus-visible { outline: 2px solid #6366f1; outline-offset: -2px; }
.mender-list summary .score::after { content: "▾"; display: inline-block; width: .9em; text-align: right; }
.mender-list details[open] > summary .score::after { content: "▴"; }
.mender-list .place, .mender-list .score { color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.mender-list .place { grid-area: place; text-align: right; }
.mender-list .score { grid-area: score; font-size: .8rem; text-align: right; white-space: nowrap; }
.mender-list .text { grid-area: title; overflow-wrap: anywhere; line-height: 1.35; }
.mender-list .text small { display: block; font-size: .8rem; color: #b91c1c; }
.dark .mender-list .text small { color: #fca5a5; }
.mender-list .move { grid-area: move; font-size: .8rem; font-weight: 600; min-width: 3rem; text-align: center;
  padding: 1px 8px; border-radius: 999px; white-space: nowrap; }
.mender-list .new { background: #4338ca; color: #fff; }
.mender-list .up { background: #d1fae5; color: #065f46; }
.mender-list .down { background: #fef3c7; color: #92400e; }
.mender-list .same, .mender-list .stays { color: var(--body-text-color-subdued); font-weight: 400; }
.mender-list .gone { background: #fee2e2; color: #991b1b; }
.mender-list .is-gone .title, .mender-list .is-avoided .title { color: var(--body-text-color-subdued); }
.mender-list .is-avoided .title { text-decoration: line-through; }
.mender-list .empty { padding: 14px; margin: 0; color: var(--body-text-color-subdued); }
.mender-list .terms { padding: 4px 12px 12px calc(12px + 1.4rem + 8px); font-size: .85rem; }
.mender-list .terms p { margin: 0 0 4px; color: var(--body-text-color-subdued); }
.mender-list .terms table { border-collapse: collapse; width: 100%; margin: 0; border: 0 !important; }
.mender-list .terms tr, .mender-list .terms td { border: 0 !important; background: none; }
.mender-list .terms td { padding: 1px 0 !important; text-align: left; color: var(--body-text-color); }
.mender-list .terms td:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.mender-list .terms tr.sum { border-top: 1px solid var(--border-color-primary) !important; font-weight: 600; }
.mender-reading { margin: 0 0 6px; color: var(--body-text-color); }
.mender-reading b { font-weight: 600; padding: 0 6px; border-radius: 4px; }
.mender-reading .wants b { background: #d1fae5; color: #065f46; }
.mender-reading .avoids b { background: #fee2e2; color: #991b1b; }
.mender-reading small { color: var(--body-text-color-subdued); }
.mender-summary { margin: 0 0 10px; font-weight: 600; color: var(--body-text-color); }
.mender-notice { margin: 0; padding: 12px 16px; border-radius: 8px; color: var(--body-text-color);
  background: var(--background-fill-secondary); border-left: 4px solid #4f46e5; }
@media (max-width: 960px) {
  /* the answer comes before the history: what is written and what it brings are on one screen */
  #recommend { display: flex; flex-direction: column; align-items: stretch; gap: 8px; }
  #ask, #reply { display: contents; }
  #ask > *, #reply > * { order: 1; width: 100%; }
  #code { order: 2; }
  #past { order: 3; }
}
@media (max-width: 720px) {
  .tab-container button { padding: 0 7px !important; font-size: .875rem !important; }
  .gradio-container .tabs, .gradio-container .tabitem, .gradio-container .tabitem > .column { gap: 8px; }
  .gradio-container .tabitem { padding: 8px 0 !important; }
  #head h1 { display: inline; font-size: 1.15rem; }
  #head p { display: inline; margin-left: 6px; font-size: .85rem; }
  #examples { flex-flow: row nowrap !important; overflow-x: auto; scrollbar-width: none; }
  #examples button { white-space: nowrap; max-width: none; }
  #examples > * { max-width: none; }
  #preference, #avoid, #strength { padding: 6px 10px !important; }
  #preference label, #avoid label { display: grid; grid-template-columns: 5.6rem 1fr; align-items: center; }
  #preference label > span, #avoid label > span { margin: 0; }
  #preference input, #avoid input, #preference textarea, #avoid textarea { padding: 6px 8px; }
  #strength .head { margin-bottom: 0; }
  .mender-answer { grid-template-columns: 1fr; }
  .mender-list .row, .mender-list summary { padding: 6px 10px; font-size: .925rem;
    grid-template: "place title move" auto "place title score" auto / 1.4rem 1fr auto; }
  .mender-list .place { align-self: start; }
  .mender-list .score { text-align: center; }
  .mender-list h3 { padding: 6px 10px; }
  .mender-summary, .mender-reading { font-size: .9rem; margin-bottom: 4px; }
}
"""


def look() -> dict[str, Any]:
    """Theme and CSS for `launch`, with the fonts of the reader's machine, so that nothing is fetched."""
    theme = gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(  # the defaults are too pale to read
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    return {"theme": theme, "css": CSS}
