/** `weightgate reference record-guest`: the launch measurement of an SEV-SNP guest that is known to be good. */

import type { Command } from 'commander';

import packageDocument from '../../package.json' with { type: 'json' };
import { toHex } from '../../attestation/core/bytes.ts';
import { readReport } from '../../attestation/sev-snp/layout.ts';
import { openSevSnpGuest } from '../agent/sev-snp/attester.ts';
import { writeCanonicalFile } from '../platform/canonical-file.ts';
import { systemClock } from '../platform/clock.ts';
import { displayNameArgument, identifierArgument } from './arguments.ts';
import { print } from './options.ts';

interface RecordOptions {
  readonly sevSnp: string;
  readonly name: string;
  readonly source: string;
  readonly out: string;
}

/** Whoever runs it vouches for the guest: the report is not verified, because only its measurement is taken. */
async function recordGuest({ sevSnp, name, source, out }: RecordOptions): Promise<void> {
  const guest = await openSevSnpGuest(sevSnp);
  const { report } = await guest.report(new Uint8Array(64).fill(0xff));
  const measurement = toHex(readReport(report).measurement);
  const document = {
    version: 1,
    class: 'sev-snp',
    kind: 'launch',
    name,
    measurement,
    provenance: {
      method: 'recorded',
      tool: packageDocument.name,
      toolVersion: packageDocument.version,
      artefacts: [],
      parameters: { source },
      madeAt: systemClock.posixSeconds(),
    },
  };
  await writeCanonicalFile(out, document, { overwrite: false });
  print(`measurement ${measurement} written to ${out}`);
}

export function registerRecordGuest(reference: Command): void {
  reference
    .command('record-guest')
    .description('take the launch measurement of an SEV-SNP guest that is known to be good')
    .option('--sev-snp <address>', 'the guest: configfs:PATH, device:PATH, simulated:FOLDER', 'auto')
    .requiredOption('--name <name>', 'name of the reference value', identifierArgument)
    .requiredOption(
      '--source <text>',
      'where the guest comes from and who vouches for it',
      displayNameArgument,
    )
    .requiredOption('--out <file>', 'new file for the reference document')
    .action(recordGuest);
}
