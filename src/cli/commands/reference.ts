import type { Command } from 'commander';

import { readCurrentPcrs } from '../../agent/tpm/current-pcrs.ts';
import { writeCanonicalFile } from '../../platform/canonical-file.ts';
import { systemClock } from '../../platform/clock.ts';
import { displayNameArgument, identifierArgument } from '../arguments.ts';
import { usageRefusals } from '../failure.ts';
import { print } from '../options.ts';
import { registerDiff } from '../reference-diff.ts';
import { registerIdBlock } from '../reference-id-block.ts';
import { registerPublish } from '../reference-publish.ts';
import { registerRecordGuest } from '../reference-recorded-guest.ts';
import { registerSevSnp } from '../reference-sev-snp.ts';
import { registerTpm } from '../reference-tpm.ts';

interface RecordOptions {
  readonly tpm: string;
  readonly pcrs: readonly number[];
  readonly name: string;
  readonly source: string;
  readonly out: string;
}

function parsePcrs(text: string): readonly number[] {
  const pcrs = text.split(',').map((number) => (/^(?:0|[1-9][0-9]?)$/.test(number) ? Number(number) : -1));
  if (pcrs.every((pcr) => pcr >= 0 && pcr <= 23)) return pcrs;
  throw usageRefusals.error('argument-invalid', {
    field: '--pcrs',
    expected: 'numbers from 0 to 23, joined by commas',
    found: text,
  });
}

/** Reads the PCRs of a machine that is known to be good, as a reference document. */
async function recordReference(options: RecordOptions): Promise<void> {
  const values = await readCurrentPcrs(options.tpm, options.pcrs);
  const document = {
    version: 2,
    class: 'tpm',
    name: options.name,
    bank: 'sha256',
    pcrs: Object.fromEntries(Object.entries(values).map(([pcr, value]) => [pcr, [value]])),
    boot: null,
    provenance: { source: options.source, recordedAt: systemClock.posixSeconds() },
  };
  await writeCanonicalFile(options.out, document, { overwrite: false });
  print(`${Object.keys(values).length} PCR values written to ${options.out}`);
}

/** `weightgate reference record|record-guest|sev-snp|tpm|id-block|publish|diff`: what a good machine measures. */
export function registerReference(program: Command): void {
  const reference = program
    .command('reference')
    .description('reference values: what a good machine measures');

  reference
    .command('record')
    .description('read the PCRs of a machine that is known to be good')
    .requiredOption('--tpm <tcti>', 'the TPM, for example device:/dev/tpmrm0')
    .requiredOption('--pcrs <list>', 'PCR numbers, for example 0,2,4,7', parsePcrs)
    .requiredOption('--name <name>', 'name of the reference values', identifierArgument)
    .requiredOption(
      '--source <text>',
      'where the machine comes from and who vouches for it',
      displayNameArgument,
    )
    .requiredOption('--out <file>', 'new file for the reference document')
    .action(recordReference);

  registerRecordGuest(reference);
  registerSevSnp(reference);
  registerTpm(reference);
  registerIdBlock(reference);

  registerPublish(reference);
  registerDiff(reference);
}
