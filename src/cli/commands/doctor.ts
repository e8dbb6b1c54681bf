import type { Command } from 'commander';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import type { Finding } from '../../agent/finding.ts';
import { examineMachine } from '../../agent/readiness.ts';
import { nvidiaGpuOption, print, tpmOption } from '../options.ts';

export const doctorRefusals = defineRefusals('environment', {
  'machine-not-ready': {
    means: 'An agent cannot run on this machine as it is.',
    hint: 'Do what the lines marked "missing" say, then look again.',
  },
});

function line({ what, readiness, found, fix }: Finding): string {
  const advice = fix === undefined ? '' : ` -> ${fix}`;
  return `${readiness.padEnd(7)}  ${what}: ${found}${advice}`;
}

async function doctor(options: { readonly tpm: string; readonly nvidiaGpu: string }): Promise<void> {
  const findings = await examineMachine({ tpm: options.tpm, gpus: options.nvidiaGpu });
  for (const finding of findings) print(line(finding));
  const lacking = findings.filter(({ readiness }) => readiness === 'missing');
  if (lacking.length === 0) return;
  throw doctorRefusals.error('machine-not-ready', {
    field: 'doctor',
    expected: 'everything that an agent needs',
    found: `${lacking.map(({ what }) => what).join(', ')} missing`,
  });
}

/** `weightgate doctor`: whether an agent could run here, and what to do where not. */
export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('examine this machine: could an agent run here, and what is to be done')
    .addOption(tpmOption())
    .addOption(nvidiaGpuOption())
    .action(doctor);
}
