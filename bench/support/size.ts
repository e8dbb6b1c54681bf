import { InvalidArgumentError } from 'commander';

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `2g`, `256m`: powers of 1024, as dd(1) and tmpfs(5) have them. */
export function parseSize(text: string): number {
  const match = /^([1-9][0-9]{0,8})([kmg]?)$/.exec(text);
  const unit = UNITS[match?.[2] ?? 'none'];
  if (match === null || unit === undefined)
    throw new InvalidArgumentError('It must be a size such as 512m or 2g.');
  return Number(match[1]) * unit;
}
