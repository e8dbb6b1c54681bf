/** `weightgate agent enrol`: names a key of this machine's TPM to the server, without asking for any model. */

import { Option, type Command } from 'commander';

import { toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { enrolByCertification } from '../agent/certified-enrolment.ts';
import { enrol, logTrustOf, type KeyReleaseOptions } from '../agent/key-release.ts';
import { TpmAttester } from '../agent/tpm/attester.ts';
import { TpmCertifier } from '../agent/tpm/certifier.ts';
import { systemClock } from '../platform/clock.ts';
import { identifierArgument } from './arguments.ts';
import { openSigningKeys, passphraseOption, print, profileOption, tpmOption, withServer } from './options.ts';
import { readWitnessing, witnessPolicyOption } from './witness-policy.ts';

export const agentEnrolRefusals = defineRefusals('usage', {
  'enrol-same-key': {
    means: 'A key was asked to certify itself.',
    hint: 'Give --certified-by the kind of the key that is enrolled already, and --attestation-key the other.',
  },
});

const KEY_KINDS = ['ecc-p256', 'rsa-2048'] as const;
type KeyKind = (typeof KEY_KINDS)[number];

interface EnrolOptions {
  readonly profile: string;
  readonly lab: string;
  readonly key: string;
  readonly passphraseFile?: string;
  readonly witnessPolicy: string;
  readonly tpm: string;
  readonly attestationKey: KeyKind;
  readonly certifiedBy?: KeyKind;
  readonly anew?: true;
}

async function run(options: EnrolOptions): Promise<void> {
  if (options.attestationKey === options.certifiedBy) {
    const facts = { field: '--certified-by', expected: 'another kind of key', found: options.certifiedBy };
    throw agentEnrolRefusals.error('enrol-same-key', facts);
  }
  const [labSigner] = await openSigningKeys([options.key], options.passphraseFile);
  if (labSigner === undefined) throw new Error('one key was opened and none returned');
  await withServer(options.profile, async (client, profile) => {
    const witnesses = await readWitnessing(options.witnessPolicy, logTrustOf(profile).keys);
    const { lab } = options;
    const release = { client, profile, lab, labSigner, purpose: 'enrolment', clock: systemClock, witnesses };
    print(await enrolKey(options, release));
  });
}

/** @returns Name of the enrolled key, lower-case hex */
async function enrolKey(options: EnrolOptions, release: KeyReleaseOptions): Promise<string> {
  const { tpm: address, attestationKey: keyAlgorithm, certifiedBy } = options;
  if (certifiedBy === undefined) {
    const attester = await TpmAttester.open(address, { keyAlgorithm });
    await enrol(release, attester, { anew: options.anew === true }).finally(() => attester.close());
    return toHex(attester.attestationKeyName);
  }
  const certifier = await TpmCertifier.open(address, { keyAlgorithm, certifiedBy });
  return await enrolByCertification(release, certifier).finally(() => certifier.close());
}

export function registerAgentEnrol(agent: Command): void {
  agent
    .command('enrol')
    .description("enrol a key of this machine's TPM; prints its Name")
    .addOption(profileOption())
    .requiredOption('--lab <lab>', 'the lab, as it was accredited', identifierArgument)
    .requiredOption('--key <file>', "the lab's signing key")
    .addOption(passphraseOption())
    .addOption(witnessPolicyOption())
    .addOption(tpmOption())
    .addOption(
      new Option('--attestation-key <kind>', 'kind of the key to enrol')
        .choices(KEY_KINDS)
        .default('ecc-p256'),
    )
    .addOption(
      new Option(
        '--certified-by <kind>',
        'have the enrolled key of this kind certify it, in place of a credential',
      ).choices(KEY_KINDS),
    )
    .addOption(
      new Option(
        '--anew',
        'vouch for a machine that was frozen, cleared or repaired: what the server knew of it is forgotten',
      ).conflicts('certifiedBy'),
    )
    .action(run);
}
