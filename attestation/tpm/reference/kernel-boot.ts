/**
 * PCR 11: what systemd-stub measures of the image that it is part of, and the phases that the started system then adds
 * (systemd, docs/TPM2_PCR_MEASUREMENTS.md, "PCR 11").
 */

import { concatBytes, toUtf8 } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { measure } from './events.ts';
import type { ExpectedEvent } from './events.ts';
import type { Uki } from './uki.ts';

export const kernelBootRefusals = defineRefusals('usage', {
  'boot-phase': {
    means: 'A phase of the boot is asked for that a system does not measure.',
    hint: 'Name one of the usual phases, or the whole path with colons between: enter-initrd:leave-initrd.',
  },
});

const PCR = 11;

/** Each section twice: its name with a zero byte behind it, then its content. */
export function expectUki({ measured }: Uki, bank: TpmHash): readonly ExpectedEvent[] {
  return measured.flatMap(({ name, content }) => [
    measure(PCR, `name of ${name}`, concatBytes(toUtf8(name), Uint8Array.of(0)), bank),
    measure(PCR, `content of ${name}`, content, bank),
  ]);
}

/** The phases that a system measures until it is up; further ones come at its shutdown. */
export const BOOT_PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'] as const;

const PHASE = /^[a-z][a-z0-9-]{0,62}$/;

/**
 * Phases that have been measured once the named one has been.
 *
 * @param text one of {@link BOOT_PHASES}, or a whole path, phases joined by colons as systemd-measure writes them
 * @throws RefusalError `boot-phase`
 */
export function phasePath(text: string): readonly string[] {
  const path = text.split(':');
  const isPath = path.length > 1 || text === BOOT_PHASES[0];
  if (isPath && path.every((phase) => PHASE.test(phase))) return path;
  const end = BOOT_PHASES.findIndex((phase) => phase === text);
  if (end >= 0) return BOOT_PHASES.slice(0, end + 1);
  throw kernelBootRefusals.error('boot-phase', {
    field: 'phase',
    expected: `${BOOT_PHASES.join(', ')}, or a path of phases`,
    found: text.slice(0, 80),
  });
}

/** The text of each phase, without a zero byte. */
export function expectPhases(path: readonly string[], bank: TpmHash): readonly ExpectedEvent[] {
  return path.map((phase) => measure(PCR, `phase ${phase}`, toUtf8(phase), bank));
}
