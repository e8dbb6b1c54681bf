/** `weightgate reference sev-snp`: the launch measurement that a guest must have. */

import { InvalidArgumentError, Option, type Command } from 'commander';

import { fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { HYPERVISOR_NAMES } from '../../attestation/sev-snp/launch/hypervisor.ts';
import { SNP_ACTIVE } from '../../attestation/sev-snp/launch/measure.ts';
import { writeCanonicalFile } from '../platform/canonical-file.ts';
import { systemClock } from '../platform/clock.ts';
import { identifierArgument, parsePositiveInteger } from './arguments.ts';
import { usageRefusals } from './failure.ts';
import { print, remark } from './options.ts';
import { deriveLaunch, launchDocument, type LaunchOptions } from './reference-launch.ts';

interface SevSnpOptions extends LaunchOptions {
  readonly name?: string;
  readonly json?: true;
  readonly out?: string;
}

/** An unsigned number in hexadecimal, with or without `0x`. */
function parseHexNumber(text: string): bigint {
  if (/^(?:0x)?[0-9a-fA-F]{1,16}$/.test(text)) return BigInt(`0x${text.replace(/^0x/, '')}`);
  throw new InvalidArgumentError('It must be a hexadecimal number.');
}

/** Computes the measurement of a launch from its files, and writes it as a reference document. */
async function deriveReference({ name, json, out, ...launch }: SevSnpOptions): Promise<void> {
  if ((json === true || out !== undefined) && name === undefined) {
    throw usageRefusals.error('argument-invalid', {
      field: '--name',
      expected: 'a name for the reference values',
      found: 'none',
    });
  }
  const derived = await deriveLaunch(launch);
  if (launch.kernel === undefined) {
    remark('without --kernel the measurement covers the firmware and the vCPUs, and no kernel');
  }
  const document = name === undefined ? null : launchDocument(derived, name, systemClock.posixSeconds());
  if (document !== null && out !== undefined) await writeCanonicalFile(out, document, { overwrite: false });
  if (document !== null && json === true) print(fromUtf8(encodeCanonicalJson(document), 'document'));
  else print(toHex(derived.measurement));
}

export function registerSevSnp(reference: Command): void {
  reference
    .command('sev-snp')
    .description('compute the launch measurement of an SEV-SNP guest from what it is started with')
    .requiredOption('--ovmf <file>', 'firmware image that was built for SEV-SNP')
    .option('--kernel <file>', 'kernel of a direct boot (-kernel)')
    .option('--initrd <file>', 'its initrd (-initrd)')
    .option('--append <text>', 'its command line (-append)')
    .requiredOption('--vcpus <number>', 'number of vCPUs at the start', parsePositiveInteger)
    .option('--vcpu-type <name>', 'vCPU model (-cpu), for example EPYC-v4')
    .option('--vcpu-signature <hex>', 'EAX of CPUID leaf 1 instead of a model', (text) =>
      Number(parseHexNumber(text)),
    )
    .addOption(
      new Option('--hypervisor <name>', 'what starts the guest').choices(HYPERVISOR_NAMES).default('qemu'),
    )
    .addOption(
      new Option('--guest-features <hex>', 'SEV_FEATURES of the guest')
        .argParser(parseHexNumber)
        .default(SNP_ACTIVE, '1'),
    )
    .option('--name <name>', 'name of the reference values', identifierArgument)
    .option('--json', 'print the reference document instead of the measurement alone')
    .option('--out <file>', 'new file for the reference document')
    .action(deriveReference);
}
