import type { AdminHandler } from './handler.ts'

/** The page that lists all commands; those that change something are buttons. */
export function homePage(handlers: readonly AdminHandler[]): string {
  const rows = handlers.filter((h) => h.path !== '/').map(row)
  return `<!DOCTYPE html>
<html lang="en">
<head>
<title>Dinghy proxy admin</title>
<style>
body { font-family: sans-serif; margin: 2em }
td { padding: 0.2em 1em 0.2em 0 }
button { font: inherit }
</style>
</head>
<body>
<h1>Dinghy proxy admin</h1>
<table>
${rows.join('\n')}
</table>
</body>
</html>
`
}

function row(handler: AdminHandler): string {
  const command = handler.mutates
    ? `<form action="${handler.path.slice(1)}" method="post"><button>${handler.path.slice(1)}</button></form>`
    : `<a href="${handler.path.slice(1)}">${handler.path.slice(1)}</a>`
  return `<tr><td>${command}</td><td>${escapeHtml(handler.help)}</td></tr>`
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
