/** Where things lie in the home of a server, and what is derived from its keys alike whenever it is opened. */

import type { Keyring } from '../keys/keyring.ts';
import type { LogIdentity } from '../log/publication.ts';
import { formatVerifierKey, makeVerifierKey } from '../log/verifier-key.ts';

/** Relative to the home. */
export const HOME_PLACES = {
  configuration: 'weightgate.yaml',
  keyring: 'keyring.json',
  custodyLock: 'custody.lock',
  modelKeys: 'model-keys.sqlite',
  storage: 'weightgate.sqlite',
  evidence: 'evidence',
  log: 'log',
  anchors: 'anchors',
  collateral: 'collateral',
  tls: 'tls',
  authority: 'tls/authority.pem',
  authorityKey: 'tls/authority-key.pem',
  serverCertificate: 'tls/server.pem',
  serverKey: 'tls/server-key.pem',
} as const;

/** The log as this keyring signs it. */
export function logIdentityOf({ logSigner }: Keyring, origin: string): LogIdentity {
  const key = makeVerifierKey(origin, 'ed25519', logSigner.publicKey);
  return { origin, signers: [{ key, sign: (message) => logSigner.sign(message) }] };
}

/** The verifier key that the genesis entry names and that clients pin. */
export function logKeyOf({ signers }: LogIdentity): string {
  return signers.map(({ key }) => formatVerifierKey(key)).join('\n');
}
