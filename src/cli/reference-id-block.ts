/** `weightgate reference id-block`: what an owner signs for a launch, and the digest of the key that signs it. */

import { InvalidArgumentError, type Command } from 'commander';

import { fromHex, toHex } from '../../attestation/core/bytes.ts';
import { readPem } from '../../attestation/core/pem.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { idKeyDigest, readIdBlock, writeIdBlock } from '../../attestation/sev-snp/launch/id-block.ts';
import { readFileBounded, writeFileDurably } from '../platform/files.ts';
import { print } from './options.ts';

const MAX_ID_BLOCK_BYTES = 4096;
const MAX_KEY_BYTES = 16 * 1024;

/** POLICY bit 17, which firmware wants set, and bit 19, with which the host may read the guest's memory. */
const POLICY_RESERVED_ONE = 1n << 17n;
const POLICY_DEBUG = 1n << 19n;

interface IdBlockOptions {
  readonly measurement: Uint8Array;
  readonly policy: bigint;
  readonly guestSvn: number;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly out: string;
}

const hexArgument =
  (bytes: number) =>
  (text: string): Uint8Array => {
    if (/^[0-9a-f]*$/.test(text) && text.length === 2 * bytes) return fromHex(text, 'argument');
    throw new InvalidArgumentError(`It must be ${2 * bytes} lower-case hexadecimal digits.`);
  };

function policyArgument(text: string): bigint {
  const policy = /^(?:0x)?[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text.replace(/^0x/, '')}`) : 0n;
  if ((policy & POLICY_RESERVED_ONE) !== 0n && (policy & POLICY_DEBUG) === 0n) return policy;
  throw new InvalidArgumentError('It must be hexadecimal, with bit 17 and without bit 19 (debugging).');
}

function guestSvnArgument(text: string): number {
  if (/^(?:0|[1-9][0-9]{0,9})$/.test(text) && Number(text) <= 0xffff_ffff) return Number(text);
  throw new InvalidArgumentError('It must be a whole number of 32 bits.');
}

async function makeIdBlock({ out, ...block }: IdBlockOptions): Promise<void> {
  await writeFileDurably(out, writeIdBlock(block), 0o644, { overwrite: false });
  print(`ID block written to ${out}`);
}

async function showIdBlock(file: string): Promise<void> {
  const block = readIdBlock(await readFileBounded(file, MAX_ID_BLOCK_BYTES), file);
  print(`measurement ${toHex(block.measurement)}`);
  print(`family ID ${toHex(block.familyId)}`);
  print(`image ID ${toHex(block.imageId)}`);
  print(`guest SVN ${block.guestSvn}`);
  print(`policy ${block.policy.toString(16).padStart(16, '0')}`);
}

async function showKeyDigest(file: string): Promise<void> {
  const key = readPem(await readFileBounded(file, MAX_KEY_BYTES), 'PUBLIC KEY', file);
  print(toHex(idKeyDigest(readSubjectPublicKeyInfo(key, file), file)));
}

export function registerIdBlock(reference: Command): void {
  const idBlock = reference
    .command('id-block')
    .description('ID blocks of SEV-SNP, which an owner signs and firmware checks at launch');

  idBlock
    .command('make')
    .description('write an ID block, to be signed with an ECDSA key on P-384')
    .requiredOption('--measurement <hex>', 'as `reference sev-snp` prints it', hexArgument(48))
    .requiredOption('--policy <hex>', 'POLICY that the guest must be launched with', policyArgument)
    .requiredOption('--guest-svn <number>', 'security version of the guest', guestSvnArgument)
    .option('--family-id <hex>', 'family of the guest', hexArgument(16), new Uint8Array(16))
    .option('--image-id <hex>', 'image of the guest', hexArgument(16), new Uint8Array(16))
    .requiredOption('--out <file>', 'new file for the 96 bytes')
    .action(makeIdBlock);

  idBlock.command('show <file>').description('print what an ID block says').action(showIdBlock);

  idBlock
    .command('key <file>')
    .description('print the digest with which reports name a key: a public key in PEM')
    .action(showKeyDigest);
}
