"""The style sheet of the report page."""

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 78rem; margin: 2rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; color: #52606d; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
th { color: #52606d; font-weight: 600; vertical-align: bottom; }
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
