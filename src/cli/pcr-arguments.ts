/** PCRs and NV indices as arguments. All throw `InvalidArgumentError`. */

import { InvalidArgumentError } from 'commander';

import { fromHex } from '../../attestation/core/bytes.ts';
import { PCR_COUNT } from '../../attestation/tpm/pcr-selection.ts';

export interface PcrArgument {
  readonly pcr: number;
  /** SHA-256 bank. */
  readonly value: Uint8Array;
}

function parsePcrNumber(text: string): number {
  const pcr = Number(text);
  if (/^[0-9]{1,2}$/.test(text) && pcr < PCR_COUNT) return pcr;
  throw new InvalidArgumentError(`It must be the number of a PCR: 0 to ${PCR_COUNT - 1}.`);
}

/** `7=0123…`, several times, each PCR once. */
export function collectPcrs(text: string, earlier: readonly PcrArgument[] = []): readonly PcrArgument[] {
  const [number = '', value = '', ...rest] = text.split('=');
  const pcr = parsePcrNumber(number);
  if (!/^[0-9a-f]{64}$/.test(value) || rest.length > 0) {
    throw new InvalidArgumentError('It must be number=value, the value 64 lower-case hexadecimal digits.');
  }
  if (earlier.some((one) => one.pcr === pcr))
    throw new InvalidArgumentError(`PCR ${pcr} stands there twice.`);
  return [...earlier, { pcr, value: fromHex(value, 'pcr') }];
}

/** `4,7,11`: ascending, each once. */
export function collectPcrNumbers(text: string): readonly number[] {
  const numbers = text.split(',').map(parsePcrNumber);
  if (numbers.every((pcr, i) => i === 0 || pcr > (numbers[i - 1] ?? PCR_COUNT))) return numbers;
  throw new InvalidArgumentError('PCRs must be in ascending order, each once.');
}

/** The PCRs that neither firmware nor a debugger owns. */
export function parseClosingPcr(text: string): number {
  const pcr = parsePcrNumber(text);
  if (pcr >= 8 && pcr <= 15) return pcr;
  throw new InvalidArgumentError('It must be one of the PCRs 8 to 15.');
}

/** An NV index of the owner's range, as tools write it: `0x01807767`. */
export function parseNvIndex(text: string): number {
  if (/^0x01[89ab][0-9a-f]{5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be 0x01800000 to 0x01bfffff.');
}
