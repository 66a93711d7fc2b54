// Before the first paint: the theme chosen last time, so that a dark page never flashes white. A file rather than an
// inline script, so that the page works under `script-src 'self'`.
try {
  const theme = JSON.parse(localStorage.getItem('pilotfish.theme') ?? 'null');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme.
}
