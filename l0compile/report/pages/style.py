"""The style sheet of the report page."""

CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 78rem; margin: 2rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; color: #52606d; }
figure { margin: .4rem 0 1rem; }
figcaption, .note { font-size: .85rem; color: #52606d; max-width: 55rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg.narrow { display: none; }
svg text { font: 13px system-ui, sans-serif; fill: #1f2933; }
svg .title, svg .strong { font-weight: 600; }
svg .faint { fill: #52606d; font-size: 12px; }
svg .halo, svg .end { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
svg .end { font-size: 12px; }
svg .grid { stroke: #e4e7eb; }
svg .axis { stroke: #7b8794; }
svg .engine { stroke: #7b8794; stroke-dasharray: 5 4; }
svg .budget { stroke: #0f766e; stroke-width: 2; }
svg .band { fill: #d3eee1; }
svg .diagonal { stroke: #52606d; stroke-dasharray: 5 4; }
svg .front { fill: none; stroke-width: 1.5; }
svg .whisker { stroke-width: 1.5; }
svg .rug { stroke-width: 2; }
svg .dot { stroke-width: 2; }
svg .trial { fill: none; stroke-width: 1.3; opacity: .7; }
svg .thick { stroke-width: 3; opacity: 1; }
.pictures { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.pictures figure { flex: 1 1 20rem; max-width: 430px; }
figcaption .key:first-child { margin-left: 0; }
.heat, .blocks { margin-bottom: 1rem; }
.heat td { padding: .2rem .5rem; text-align: center; white-space: nowrap; border: 1px solid #fff; }
.heat th { padding-right: .6rem; white-space: nowrap; }
.heat th:first-child { position: sticky; left: 0; background: #fff; }
.heat tbody th { font: .8rem ui-monospace, monospace; }
.blocks th[colspan] { border-bottom: 0; }
.blocks th.code { overflow-wrap: normal; }
.mark, .whole { white-space: nowrap; }
.words { min-width: 8rem; }
@media (max-width: 700px) {
  body { padding: 0 .8rem; margin: 1rem auto; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
  td.code:first-child { min-width: 9rem; }
  .heat { font-size: .75rem; }
  .heat td { white-space: normal; padding: .15rem .2rem; }
  .heat tbody th { white-space: normal; overflow-wrap: break-word; max-width: 6.5rem; font-size: .72rem; }
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
th { color: #52606d; font-weight: 600; vertical-align: bottom; }
tbody th { vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.code { font-family: ui-monospace, monospace; font-size: .8rem; overflow-wrap: anywhere; }
.chosen td { font-weight: 600; background: #fff4ec; }
.bar { display: inline-block; width: 6rem; height: .7rem; background: #e4e7eb; vertical-align: middle; }
.bar span { display: block; height: 100%; }
.lead { font-size: 1.05rem; max-width: 60rem; }
.stack { display: flex; height: 1.3rem; margin: .2rem 0 .5rem; background: #fff; }
.stack span { display: block; height: 100%; }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .35rem 0 1rem; vertical-align: -.08rem; }
.pair { min-width: 8rem; }
.pair span { display: block; height: .45rem; margin: .1rem 0; min-width: 1px; }
.why { color: #52606d; min-width: 18rem; }
.sortable td.code { min-width: 6.5rem; }
.sortable td.code:first-child { min-width: 13rem; }
.sortable th { cursor: pointer; }
.sortable th::after { content: " \\2195"; color: #9aa5b1; }
"""
