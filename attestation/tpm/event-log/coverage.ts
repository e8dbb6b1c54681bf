/**
 * What of an event's data its digest covers. Replay proves the digests; the data beside them is worth something only as far
 * as a digest can be computed from it. What is not covered is untrusted: it is shown, and never decides.
 */

import { equalBytes } from '../../core/bytes.ts';
import { RefusalError } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { EventType } from './event-types.ts';
import type { LoggedEvent } from './read.ts';
import { readUefiVariable } from './uefi-variable.ts';

/**
 * `event`: all of the data; `variable`: the value of the UEFI variable, and neither its name nor its vendor; `text`: what
 * a boot loader wrote behind the name of the register; `nothing`: the digest is that of something else, an image or a file.
 */
export type Coverage =
  | { readonly covers: 'event' | 'variable' | 'text'; readonly bytes: Uint8Array }
  | { readonly covers: 'nothing' };

/** @param bank the bank that was replayed */
export function coverageOf({ type, digests, data }: LoggedEvent, bank: TpmHash): Coverage {
  const digest = digests.get(bank.algorithm);
  if (digest === undefined) return { covers: 'nothing' };
  const isDigestOf = (bytes: Uint8Array): boolean => equalBytes(bank.digest(bytes), digest);
  if (isDigestOf(data)) return { covers: 'event', bytes: data };
  const part = coverablePart(type, data);
  return part !== undefined && isDigestOf(part.bytes) ? part : { covers: 'nothing' };
}

type Part = Exclude<Coverage, { readonly covers: 'nothing' }>;

function coverablePart(type: number, data: Uint8Array): Part | undefined {
  if (type === EventType.efiVariableBoot) return variablePart(data);
  if (type === EventType.ipl) return textPart(data);
  return undefined;
}

/** Firmware of the older profile measures the value of a boot variable alone. */
function variablePart(data: Uint8Array): Part | undefined {
  try {
    return { covers: 'variable', bytes: readUefiVariable(data, 'event').data };
  } catch (error) {
    if (error instanceof RefusalError) return undefined;
    throw error;
  }
}

const COLON = 0x3a;
const SPACE = 0x20;

/** GRUB measures `kernel_cmdline: TEXT` and the like as TEXT, without the zero byte behind it. */
function textPart(data: Uint8Array): Part | undefined {
  const colon = data.indexOf(COLON);
  if (colon < 0 || data[colon + 1] !== SPACE) return undefined;
  const end = data.at(-1) === 0 ? data.length - 1 : data.length;
  return { covers: 'text', bytes: data.subarray(colon + 2, end) };
}
