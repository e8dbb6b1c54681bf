import type { Command } from 'commander';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { createSigningKey, readSigningKeyIdentity } from '../../keys/signing-key.ts';
import { identifierArgument } from '../arguments.ts';
import { passphraseOption, print } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

/** `weightgate key create|show`: the signing keys of people and labs. */
export function registerKey(program: Command): void {
  const key = program.command('key').description('signing keys of people and labs');

  key
    .command('create <file>')
    .description('make an Ed25519 signing key in a new file, under a passphrase')
    .requiredOption('--name <name>', 'the person or lab whose key it is', identifierArgument)
    .addOption(passphraseOption())
    .action(async (file: string, options: { name: string; passphraseFile?: string }) => {
      const passphrase = await readPassphrase(options.passphraseFile, `the new key ${file}`);
      const { name, publicKey } = await createSigningKey({ path: file, name: options.name, passphrase });
      print(`${name} ${toBase64(publicKey)}`);
    });

  key
    .command('show <file>')
    .description('print name and public key; needs no passphrase')
    .action(async (file: string) => {
      const { name, publicKey } = await readSigningKeyIdentity(file);
      print(`${name} ${toBase64(publicKey)}`);
    });
}
