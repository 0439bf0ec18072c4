// The page's style sheet: light and dark as the reader's system has it, narrow and wide, on screen and on paper.
#include "core/error.h"
#include "insight/report/html_internal.h"
#include "train/svg_internal.h"

namespace fovea::insight::html {
namespace {

constexpr const char* kStyle = R"css(
:root {
  --paper: #ffffff; --sheet: #f6f7f9; --ink: #1c2126; --muted: #5b6570; --line: #d9dee4; --accent: #0b5cad; --good: #19703f; --bad: #a63c00;
  --rail: #dfe4ea; color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --sheet: #1b2027; --ink: #e4e8ec; --muted: #9aa5b1; --line: #323a44; --accent: #74b3f0; --good: #6cc592; --bad: #f5a064;
    --rail: #333c46;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Helvetica, Arial, sans-serif; }
header, .frame { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; padding-bottom: 1.25rem; }
.kind { margin: 0; color: var(--accent); font-weight: 600; font-size: .85rem; letter-spacing: .06em; text-transform: uppercase; }
h1 { margin: .2rem 0 .6rem; font-size: clamp(1.7rem, 4vw, 2.5rem); line-height: 1.15; letter-spacing: -.015em; overflow-wrap: anywhere; }
.lede { margin: 0; font-size: 1.15rem; max-width: 46rem; overflow-wrap: anywhere; }
.meta { margin: .6rem 0 0; max-width: none; color: var(--muted); font-size: .9rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
main:focus { outline: none; }
.skip { position: absolute; left: -999rem; top: 0; background: var(--paper); padding: .6rem 1rem; z-index: 2; }
.skip:focus { left: .5rem; top: .5rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
nav ol { list-style: none; margin: 0; padding: .6rem 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; border-block: 1px solid var(--line); }
nav a { text-decoration: none; color: var(--muted); font-size: .95rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
@media (min-width: 64rem) {
  .frame { display: grid; grid-template-columns: 10.5rem minmax(0, 1fr); gap: 2.5rem; align-items: start; }
  nav { position: sticky; top: 1rem; }
  nav ol { display: block; border: 0; border-left: 2px solid var(--line); padding: 0 0 0 1rem; }
  nav li { padding: .22rem 0; }
}
section { padding: .5rem 0 2rem; }
section + section { border-top: 1px solid var(--line); padding-top: 1.6rem; }
h2 { font-size: 1.45rem; margin: 0 0 .9rem; line-height: 1.25; letter-spacing: -.01em; }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .5rem; }
p { max-width: 46rem; margin: .6rem 0; }
code { font-size: .9em; background: var(--sheet); padding: .1em .3em; border-radius: 3px; }
small { color: var(--muted); font-size: .85em; }
small.i { display: block; font-weight: 400; line-height: 1.3; white-space: nowrap; }
tr.flag small.i { white-space: normal; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 12rem), 1fr)); gap: .8rem; margin: 0 0 1.4rem; }
@media (min-width: 64rem) { .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
.tile { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem .9rem; }
.tile dt { color: var(--muted); font-size: .88rem; }
.tile dd { margin: 0; }
.big { display: block; font-size: 1.75rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.3; font-variant-numeric: tabular-nums; }
.note { color: var(--muted); font-size: .84rem; display: block; line-height: 1.35; }
.notes { list-style: none; padding: 0; margin: 0; max-width: 50rem; }
.notes li { display: flex; gap: .7rem; padding: .4rem 0; overflow-wrap: anywhere; }
.mark { flex: none; width: 1.45rem; height: 1.45rem; border-radius: 50%; text-align: center; line-height: 1.4rem; font-weight: 700; font-size: .9rem; border: 1.5px solid var(--line); color: var(--muted); }
.caution .mark { border-color: var(--bad); color: var(--bad); }
.fine .mark { border-color: var(--good); color: var(--good); }
dl.card, dl.recipe, dl.terms { display: grid; grid-template-columns: minmax(8rem, 12rem) minmax(0, 1fr); gap: .5rem 1.2rem; margin: .4rem 0; max-width: 56rem; }
dl.card dt, dl.recipe dt, dl.terms dt { font-weight: 600; }
dl.card dd, dl.recipe dd, dl.terms dd { margin: 0; overflow-wrap: anywhere; }
dl.card dd p { margin: 0 0 .3rem; }
.unset { color: var(--bad); font-style: italic; }
@media (max-width: 36rem) { dl.card, dl.recipe, dl.terms { grid-template-columns: minmax(0, 1fr); gap: .1rem; } dl.card dd, dl.recipe dd, dl.terms dd { margin-bottom: .6rem; } }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; font-size: .92rem; }
th, td { padding: .34rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: middle; }
td { white-space: nowrap; }
tbody th { font-weight: 500; min-width: 6.5rem; max-width: 18rem; overflow-wrap: break-word; }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
th.n, td.n { text-align: right; }
td:not(.n) { color: var(--muted); }
tr.part th { color: var(--muted); font-weight: 600; padding-top: .9rem; text-transform: capitalize; }
tr.sum th, tr.sum td { font-weight: 650; border-bottom: 0; }
tr.flag th, tr.flag td { background: color-mix(in srgb, var(--bad) 9%, transparent); }
tr.flag th small { color: var(--bad); font-weight: 600; }
.matrix { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.matrix td { min-width: 3.4rem; height: 2.4rem; text-align: center; border: 1px solid var(--line); color: var(--ink); }
.matrix td.zero { color: var(--muted); }
.matrix td.strong { color: #ffffff; }
.matrix td:last-child { border-color: transparent; color: var(--muted); text-align: right; }
.matrix thead th { text-align: center; }
.matrix.upright thead th:not(:first-child) span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bar { display: block; overflow: visible; }
.bar line.rail { stroke: var(--rail); stroke-width: 2; }
.bar line.span { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: .55; }
.bar circle, .bar rect.fill { fill: var(--accent); }
.bar rect.rail { fill: var(--rail); }
figure { margin: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem; align-items: start; margin: .8rem 0; }
.plot { width: 100%; height: auto; max-width: 34rem; display: block; }
.findings { padding-left: 1.1rem; max-width: 54rem; }
.findings li { margin: .3rem 0; overflow-wrap: anywhere; }
.findings .serious b { color: var(--bad); }
.cases { list-style: none; margin: .8rem 0 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.2rem; }
.cases figure { border: 1px solid var(--line); border-radius: 10px; overflow: hidden; background: var(--sheet); height: 100%; }
.pair { display: flex; background: #000; }
.pair img { width: 50%; height: auto; display: block; flex: 1 1 0; min-width: 0; }
figcaption { padding: .6rem .8rem .75rem; font-size: .92rem; overflow-wrap: anywhere; }
.file { color: var(--muted); font-size: .85rem; }
.legend { color: var(--muted); font-size: .9rem; display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; }
.scale { display: inline-block; width: 11rem; height: .8rem; border-radius: 3px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print {
  :root { --paper: #ffffff; --sheet: #ffffff; --ink: #000000; --muted: #444444; --line: #bbbbbb; --accent: #0b5cad; --good: #19703f; --bad: #a63c00; --rail: #dddddd; color-scheme: light; }
  @page { margin: 15mm; }
  body { font-size: 9.5pt; }
  nav, .skip { display: none; }
  header, .frame { max-width: none; padding: 0; display: block; }
  .scroll { overflow: visible; }
  table, caption, figcaption, .file { font-size: 8pt; } th, td { padding: .22rem .4rem; }
  h3 + p, .legend, .legend + p { break-after: avoid; }
  h2, h3 { break-after: avoid; }
  figure, tr, .tile, .notes li, .cases li { break-inside: avoid; }
  section { padding: 0 0 .8rem; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .plots { grid-template-columns: 1fr 1fr; }
  .cases { grid-template-columns: 1fr 1fr; gap: .6rem; }
  .pair, .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  a { color: inherit; text-decoration: none; }
}
)css";

/// Plots are drawn with fixed colours (train/svg_internal.h); in the dark they get others.
std::string dark_plots() {
  using namespace svg;
  // As bright on dark as the first are dark on white, and still told apart with any colour vision.
  constexpr const char* kBright[] = {"#4ba3e3", "#ff8a3d", "#35c99a", "#e59cc6", "#f2b233", "#8fd0f7"};
  std::string out = "@media screen and (prefers-color-scheme: dark) {\n";
  const auto rule = [&](const char* what, const char* from, const char* to) {
    out += str("  .plot ", what, "[fill=\"", from, "\"] { fill: ", to, "; } .plot [stroke=\"", from,
               "\"] { stroke: ", to, "; }\n");
  };
  rule("rect", "#ffffff", "var(--paper)");
  rule("text", kInk, "var(--ink)");
  rule("", kMuted, "var(--muted)");
  rule("", kGrid, "var(--line)");
  rule("", "#afb8c1", "#56616d");
  for (std::size_t i = 0; i < std::size(kBright); ++i) rule("", kColors[i], kBright[i]);
  return out + "}\n";
}

}  // namespace

std::string style() { return kStyle + dark_plots(); }

}  // namespace fovea::insight::html
