import { afterEach, describe, expect, it, vi } from 'vitest';

import { makeStatement, signByEach, verifyStatement } from '../../src/governance/statements.ts';
import { keyIdOf, signStatement, type Envelope } from '../../src/platform/dsse.ts';
import * as ed25519 from '../../src/platform/ed25519.ts';
import { examplePredicates, exampleTrustRoot, predicateOf, signers } from '../support/governance.ts';
import { refusalCode } from '../support/refusal-code.ts';

vi.mock('../../src/platform/ed25519.ts', { spy: true });

const trustRoot = exampleTrustRoot();
const statement = makeStatement('hold/v1', predicateOf('hold/v1', examplePredicates.hold));

async function signedBy(signer = signers.annaAtHome): Promise<Envelope> {
  const [envelope] = await signByEach(statement, [signer]);
  return envelope!;
}

function renamed(envelope: Envelope, keyid: string | undefined): Envelope {
  return { ...envelope, signatures: envelope.signatures.map(({ signature }) => ({ keyid, signature })) };
}

/** The outcome, and how many signatures were verified for it. */
function verifying(envelope: Envelope): readonly [string, number] {
  const verify = vi.mocked(ed25519.verifyEd25519).mockClear();
  const code = refusalCode(() => verifyStatement(envelope, trustRoot));
  return [code, verify.mock.calls.length];
}

afterEach(() => {
  vi.clearAllMocks();
});

describe('who signed a statement', () => {
  it('GV-4: is the person whose key the signature names, by one verification', async () => {
    for (const signer of [signers.anna, signers.annaAtHome, signers.dora]) {
      expect(verifying(await signedBy(signer))).toEqual(['accepted', 1]);
    }
    expect(verifyStatement(await signedBy(signers.annaAtHome), trustRoot).person.person).toBe('anna');
    expect(verifyStatement(await signedBy(signers.dora), trustRoot).person.person).toBe('dora');
  });

  it('GV-4: a signature that names no key of the trust root is refused unverified', async () => {
    expect(verifying(renamed(await signedBy(), undefined))).toEqual(['dsse-threshold', 0]);
    expect(verifying(renamed(await signedBy(), ''))).toEqual(['dsse-threshold', 0]);
    expect(verifying(await signedBy(signers.mallory))).toEqual(['dsse-threshold', 0]);
    const upperCase = keyIdOf(signers.annaAtHome.publicKey).toUpperCase();
    expect(verifying(renamed(await signedBy(), upperCase))).toEqual(['dsse-threshold', 0]);
  });

  it('GV-4: a signature that names the key of another is refused after one verification', async () => {
    for (const signer of [signers.mallory, signers.anna]) {
      const borrowed = renamed(await signedBy(signer), keyIdOf(signers.bert.publicKey));
      expect(verifying(borrowed)).toEqual(['dsse-threshold', 1]);
    }
  });

  it('GV-4: none or several signatures are refused unverified', async () => {
    const two = await signStatement(statement, [signers.anna, signers.bert]);
    expect(verifying(two)).toEqual(['dsse-threshold', 0]);
    expect(verifying({ ...two, signatures: [] })).toEqual(['dsse-threshold', 0]);
  });
});
