import type { Command } from 'commander';

import { registerCustodyTpm } from './custody-tpm.ts';

/** `weightgate custody`: the wrapping keys of model keys, wherever they are. */
export function registerCustody(program: Command): void {
  const custody = program.command('custody').description('custody of the keys of models');
  registerCustodyTpm(custody);
}
