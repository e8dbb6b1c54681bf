import { InvalidArgumentError, Option, type Command } from 'commander';

import { systemClock } from '../../platform/clock.ts';
import { verifyAttestationResult } from '../../platform/attestation-result.ts';
import { tokenOfFile } from '../../platform/json-web-token.ts';
import { readServerProfile } from '../../platform/server-profile.ts';
import { parseVerifierKey } from '../../log/verifier-key.ts';
import { readInput } from '../evidence-files.ts';
import { showJudgement } from '../evidence-output.ts';
import { profileOption } from '../options.ts';
import { timeArgument } from './evidence.ts';

const MAX_TOKEN_BYTES = 128 * 1024;

interface ResultOptions {
  readonly profile: string;
  readonly nonce?: string;
  readonly at: number;
  readonly json?: true;
}

function nonceArgument(text: string): string {
  if (!/^[0-9a-fA-F]{64}$/.test(text)) throw new InvalidArgumentError('It must be hex of 32 bytes.');
  return text.toLowerCase();
}

/** `weightgate evidence result verify`: what a server signed about a machine, checked without the server. */
export function registerEvidenceResult(evidence: Command): void {
  evidence
    .command('result')
    .description('what a server signed about a machine: an EAR in the form of a JSON Web Token')
    .command('verify')
    .argument('<file>', 'the token, as `agent run --attestation-result` writes it; "-" is standard input')
    .description('check signature, origin, time and status of an attestation result')
    .addOption(profileOption())
    .option('--nonce <hex>', 'the challenge that it must answer, 32 bytes', nonceArgument)
    .addOption(
      new Option('--at <time>', 'time of the verification')
        .argParser(timeArgument)
        .default(systemClock.posixSeconds(), 'now'),
    )
    .option('--json', 'one JSON document in place of lines')
    .action(verifyResult);
}

async function verifyResult(file: string, options: ResultOptions): Promise<void> {
  const { logKey, origin } = await readServerProfile(options.profile);
  const { publicKey } = parseVerifierKey(logKey, 'profile.logKey');
  const verdict = await verifyAttestationResult(tokenOfFile(await readInput(file, MAX_TOKEN_BYTES), file), {
    publicKey,
    logOrigin: origin,
    time: options.at,
    nonce: options.nonce,
  });
  showJudgement(verdict, options.json === true);
}
