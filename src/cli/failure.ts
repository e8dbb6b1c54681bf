/** How a command ends that did not succeed (docs/spec/command-line.md). */

import { CommanderError } from 'commander';

import { defineRefusals, isRefusal, type RefusalFamilyName } from '../../attestation/core/refusal.ts';
import { legible } from '../platform/legible.ts';

export const usageRefusals = defineRefusals('usage', {
  'argument-invalid': {
    means: 'An argument of a command has a value that it cannot have.',
    hint: 'See the command with --help.',
  },
  'passphrase-missing': {
    means: 'A passphrase is needed and there is no terminal to ask for it.',
    hint: 'Give a file that holds it with --passphrase-file.',
  },
});

/** CL-1. */
export const EXIT_CODES: Readonly<Record<RefusalFamilyName, number>> = {
  inauthentic: 1,
  unacceptable: 1,
  usage: 2,
  malformed: 3,
  unavailable: 4,
  environment: 5,
};
const EXIT_USAGE = 2;
const EXIT_DEFECT = 70;

/** Ends a command that was interrupted, after it has cleaned up. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

const SIGNAL_EXIT_CODES: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 };

/** What a failed command says and the code it exits with. */
export function describeFailure(error: unknown): { readonly text: string; readonly exitCode: number } {
  if (isRefusal(error)) {
    const { code, field, expected, found, hint } = error.refusal;
    const line = legible(`weightgate: ${field}: expected ${expected}, found ${found} [${code}]`);
    return {
      text: `${line}\n            ${legible(hint)}\n`,
      exitCode: EXIT_CODES[error.family],
    };
  }
  if (error instanceof Interrupted) {
    return {
      text: `weightgate: ${error.message}\n`,
      exitCode: SIGNAL_EXIT_CODES[error.signal] ?? EXIT_DEFECT,
    };
  }
  // commander has printed its own line by then; help and --version are not failures.
  if (error instanceof CommanderError) {
    return { text: '', exitCode: error.exitCode === 0 ? 0 : EXIT_USAGE };
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return {
    text: `weightgate: a defect of this program, please report it:\n${detail}\n`,
    exitCode: EXIT_DEFECT,
  };
}
