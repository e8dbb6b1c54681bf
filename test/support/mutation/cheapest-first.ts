import type { TestSequencer, TestSpecification, Vitest } from 'vitest/node';

/** Mutants end with the first test that fails: what takes long is asked last, where vitest would begin with it. */
export class CheapestFirst implements TestSequencer {
  private readonly vitest: Vitest;

  constructor(vitest: Vitest) {
    this.vitest = vitest;
  }

  sort(files: TestSpecification[]): TestSpecification[] {
    const costOf = (file: TestSpecification): number =>
      this.vitest.cache.getTestSpecificationResult(file)?.duration ?? 0;
    return files
      .map((file) => ({ file, cost: costOf(file) }))
      .sort((a, b) => a.cost - b.cost)
      .map(({ file }) => file);
  }

  /** All of them: mutation runs are not divided over machines. */
  shard(files: TestSpecification[]): TestSpecification[] {
    return files;
  }
}
