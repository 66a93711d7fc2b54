/** Numbers as people read them. */

export function bytes(n: number): string {
  if (!Number.isFinite(n) || n < 0) return '–';
  if (n < 1000) return `${n} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = n;
  let unit = 'B';
  for (const next of units) {
    if (value < 999.5) break;
    value /= 1000;
    unit = next;
  }
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
}

/** 134515008 -> "135 M". */
export function count(n: number): string {
  if (!Number.isFinite(n)) return '–';
  if (n < 1000) return String(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} k`;
  if (n < 1e9) return `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)} M`;
  return `${(n / 1e9).toFixed(n < 1e10 ? 1 : 0)} B`;
}

export function seconds(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_950 ? 1 : 0)} s`;
  const whole = Math.round(ms / 1000);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function rate(perSecond: number): string {
  if (!Number.isFinite(perSecond) || perSecond <= 0) return '–';
  return perSecond < 10 ? perSecond.toFixed(1) : perSecond.toFixed(0);
}

/** A log-probability as a percentage: "37 %", "0.4 %", "<0.1 %". */
export function percent(logProb: number): string {
  const p = Math.exp(logProb) * 100;
  if (Number.isNaN(p)) return '–';
  if (p >= 99.95) return '100 %';
  if (p >= 9.95) return `${p.toFixed(0)} %`;
  if (p >= 0.095) return `${p.toFixed(1)} %`;
  return p === 0 ? '0 %' : '<0.1 %';
}

/** A signed number with a true minus sign, so that columns of them line up. */
export function signed(n: number, digits = 2): string {
  if (!Number.isFinite(n)) return '–';
  const text = Math.abs(n).toFixed(digits);
  if (Number(text) === 0) return text;
  return `${n < 0 ? '−' : '+'}${text}`;
}

export function plain(n: number, digits = 2): string {
  return Number.isFinite(n) ? n.toFixed(digits).replace('-', '−') : '–';
}

/** A token's text with its white space made visible. */
export function visible(text: string): string {
  if (text === '') return '∅';
  return text.replace(/ /g, '·').replace(/\n/g, '↵').replace(/\t/g, '⇥');
}
