import { InvalidArgumentError, Option, type Command } from 'commander';

import { fromHex } from '../../../attestation/core/bytes.ts';
import { systemClock } from '../../platform/clock.ts';
import { collect } from '../arguments.ts';
import { evidenceFacts } from '../evidence-facts.ts';
import { showFacts, showJudgement } from '../evidence-output.ts';
import { judgeEvidence, type EvidenceOptions, type VerifyOptions } from '../evidence-questions.ts';
import { registerEventLog } from './event-log.ts';
import { registerEvidenceResult } from './evidence-result.ts';

/** Hex of so many bytes. */
function bytesArgument(minBytes: number, maxBytes: number): (text: string) => Uint8Array {
  return (text) => {
    const isHex = /^(?:[0-9a-fA-F]{2})*$/.test(text);
    if (!isHex || text.length < 2 * minBytes || text.length > 2 * maxBytes) {
      const length = minBytes === maxBytes ? String(minBytes) : `${minBytes} to ${maxBytes}`;
      throw new InvalidArgumentError(`It must be hex of ${length} bytes.`);
    }
    return fromHex(text.toLowerCase(), 'argument');
  };
}

const RFC_3339 = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/;

/** POSIX seconds, or the form in which people write a time. */
export function timeArgument(text: string): number {
  if (/^(?:0|[1-9][0-9]{0,10})$/.test(text)) return Number(text);
  const milliseconds = RFC_3339.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(milliseconds)) throw new InvalidArgumentError('It must be like 2026-01-31T12:00:00Z.');
  return milliseconds / 1000;
}

function repeated(flags: string, description: string): Option {
  return new Option(flags, `${description}; several times`).argParser(collect).default([], 'none');
}

function withEvidence(command: Command): Command {
  return command
    .option('--sev-snp <file>', 'a report of SEV-SNP, 1184 bytes')
    .option('--azure-hcl <file>', 'an HCL report of Azure; goes with a quote')
    .option('--nvidia-gpu <file>', 'a report of a GPU, or what NVIDIA’s tools wrote of one or several')
    .option('--nvswitch <file>', 'a report of an NVSwitch')
    .option('--bundle <file>', 'an evidence bundle of any device classes')
    .option('--quote <file>', 'TPMS_ATTEST of the quote')
    .option('--quote-signature <file>', 'its signature: bare RSA, or TPMT_SIGNATURE')
    .option('--pcrs <file>', 'PCR values: {"sha256": {"0": "…", …}}')
    .option('--certificate-table <file>', 'the certificate table that came with the report')
    .addOption(repeated('--cert <file>', 'certificates in DER or PEM'))
    .addOption(repeated('--chain <file>', 'certificates above, in PEM or DER'))
    .option('--json', 'one JSON document in place of lines');
}

/** `weightgate evidence verify|inspect`: what a machine's evidence says, and whether it holds. */
export function registerEvidence(program: Command): void {
  const evidence = program
    .command('evidence')
    .description('look at what machines prove, away from any server; "-" is standard input');

  withEvidence(evidence.command('inspect'))
    .description('show what evidence says, without judging it')
    .action(async (options: EvidenceOptions) => {
      showFacts(await evidenceFacts(options), options.json === true);
    });

  registerEventLog(evidence);
  registerEvidenceResult(evidence);

  withEvidence(evidence.command('verify'))
    .description('judge evidence: each check, what it expected and found, and what it is there for')
    .option('--policy <file>', 'appraisal policy, in JSON or YAML')
    .addOption(repeated('--reference <file>', 'reference values, in JSON or YAML'))
    .option(
      '--report-data <hex>',
      'what the report was made for; without it freshness is not judged',
      bytesArgument(64, 64),
    )
    .option('--nonce <hex>', 'what the quote or the report of a GPU was made for', bytesArgument(1, 64))
    .option('--inputs <file>', 'with --bundle: everything that its verdict depends on')
    .addOption(repeated('--crl <file>', 'revocation list in DER'))
    .addOption(repeated('--rim <file>', 'manifest of the firmware of a GPU or switch'))
    .addOption(repeated('--ocsp <file>', 'OCSP answer about a certificate of a device or manifest, in DER'))
    .option('--nvswitch-policy <file>', 'appraisal policy for the switches beside GPUs')
    .option(
      '--collateral <dir>',
      'folder of certificates and revocation lists, as `collateral fetch` fills it',
    )
    .option('--fetch', 'ask AMD for what the folder lacks')
    .addOption(
      repeated('--simulated-root <file>', 'accept this root of simulated hardware in place of the maker’s'),
    )
    .addOption(
      repeated('--simulated-manifest-root <file>', 'accept this root of manifests for simulated GPUs'),
    )
    .addOption(
      new Option('--at <time>', 'time of the verification')
        .argParser(timeArgument)
        .default(systemClock.posixSeconds(), 'now'),
    )
    .action(async (options: VerifyOptions) => {
      showJudgement(await judgeEvidence(options), options.json === true);
    });
}
