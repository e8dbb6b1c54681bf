import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';

import { collectMachines } from '../../src/cli/arguments.ts';

const DIGEST = 'ab'.repeat(32);

describe('--machine of lab accredit', () => {
  it('GV-38: names a TPM by its endorsement key, any other device by class and identity', () => {
    const machines = collectMachines(`b=sev-snp:${DIGEST}`, collectMachines(`a=${DIGEST}`));
    expect(machines).toEqual([
      { name: 'a', endorsementKeyDigest: DIGEST },
      { name: 'b', deviceClass: 'sev-snp', identity: DIGEST },
    ]);
  });

  it.each([
    ['nothing', ''],
    ['no name', `=${DIGEST}`],
    ['a name alone', 'a='],
    ['a short digest', `a=${DIGEST.slice(1)}`],
    ['upper-case digits', `a=sev-snp:${DIGEST.toUpperCase()}`],
    ['a class without a digest', 'a=sev-snp:'],
    ['a class that is none', `a=SEV:${DIGEST}`],
    ['an empty class', `a=:${DIGEST}`],
    ['a TPM by its identity', `a=tpm:${DIGEST}`],
    ['more than one class', `a=sev-snp:x:${DIGEST}`],
  ])('GV-38: is not %s', (_name, text) => {
    expect(() => collectMachines(text)).toThrow(InvalidArgumentError);
  });
});
