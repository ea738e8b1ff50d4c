/** The bill of materials of an image: what `npm sbom` says of a developer's folder, without what stays behind there. */
import { isMapping, type Mapping } from '../config/written-data.ts';

/** Development packages whose code is in the console's page. */
const IN_THE_PAGE: ReadonlySet<unknown> = new Set(['preact', 'uplot']);
const OF_DEVELOPMENT = 'cdx:npm:package:development';

const listOf = (value: unknown): readonly Mapping[] => (Array.isArray(value) ? value.filter(isMapping) : []);

const isOfDevelopment = ({ properties }: Mapping): boolean =>
  listOf(properties).some(({ name, value }) => name === OF_DEVELOPMENT && value === 'true');

/**
 * Makes it: packages that run, and those whose code is in the page. The whole is called by the package's name; npm calls it by its
 * folder's.
 *
 * @param written a CycloneDX document of a whole installation. @throws when it is none.
 */
export function sbomOfImage(written: unknown, name: string): Mapping {
  if (!isMapping(written) || written['bomFormat'] !== 'CycloneDX') throw new Error('that is no CycloneDX');
  const { metadata } = written;
  const whole = isMapping(metadata) ? metadata['component'] : undefined;
  if (!isMapping(metadata) || !isMapping(whole)) throw new Error('it does not say of what it is');
  const components = listOf(written['components'])
    .filter((one) => !isOfDevelopment(one) || IN_THE_PAGE.has(one['name']))
    .map((one): Mapping => {
      const properties = listOf(one['properties']).filter((property) => property['name'] !== OF_DEVELOPMENT);
      return { ...one, properties };
    });
  const there = new Set<unknown>([whole, ...components].map((one) => one['bom-ref']));
  const dependencies = listOf(written['dependencies'])
    .filter(({ ref }) => there.has(ref))
    .map(({ ref, dependsOn }) => ({
      ref,
      dependsOn: Array.isArray(dependsOn) ? dependsOn.filter((one) => there.has(one)) : [],
    }));
  return {
    ...written,
    metadata: { ...metadata, component: { ...whole, type: 'application', name } },
    components,
    dependencies,
  };
}
