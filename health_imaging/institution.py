# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users see what belongs to their institution, once that is switched on

The rules by institution are shipped as rule groups that apply to nobody.
Those of modules on top are switched as well: their XML ids are
rule_group_<what>_institution.
"""
from trytond.model import ModelSingleton, ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import without_check_access


def rule_groups():
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    RuleGroup = pool.get('ir.rule.group')
    return RuleGroup.browse([
            data.db_id for data in ModelData.search([
                    ('model', '=', RuleGroup.__name__),
                    ('fs_id', 'like', 'rule_group_%_institution'),
                    ])])


class Configuration(ModelSingleton, ModelSQL, ModelView):
    "Medical Imaging Configuration"
    __name__ = 'gnuhealth.imaging.configuration'

    own_institution = fields.Function(
        fields.Boolean(
            "Own Institution Only",
            help="Users see the requests, the results and the studies of "
            "their institution and of none.\n"
            "Otherwise they see those of all institutions."),
        'get_own_institution', setter='set_own_institution')

    @classmethod
    def default_own_institution(cls):
        return cls.get_own_institution([], None)

    @classmethod
    @without_check_access
    def get_own_institution(cls, configurations, name):
        on = all(group.global_p for group in rule_groups())
        if name is None:
            return on
        return {c.id: on for c in configurations}

    @classmethod
    @without_check_access
    def set_own_institution(cls, configurations, name, value):
        RuleGroup = Pool().get('ir.rule.group')
        RuleGroup.write(rule_groups(), {'global_p': bool(value)})


class Rule(metaclass=PoolMeta):
    __name__ = 'ir.rule'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.domain.help += (
            '\n- "institutions" as list of ids from the current user')

    @classmethod
    def _get_context(cls, model_name):
        pool = Pool()
        Institution = pool.get('gnuhealth.institution')
        User = pool.get('res.user')
        Company = pool.get('company.company')
        context = super()._get_context(model_name)
        with without_check_access():
            parties = [
                c.party.id for c in Company.browse(User.get_companies())]
            context['institutions'] = [
                i.id for i in Institution.search([('party', 'in', parties)])]
        return context


class Institution(metaclass=PoolMeta):
    __name__ = 'gnuhealth.institution'

    @classmethod
    def create(cls, vlist):
        institutions = super().create(vlist)
        cls._forget_rules()
        return institutions

    @classmethod
    def write(cls, *args):
        super().write(*args)
        cls._forget_rules()

    @classmethod
    def delete(cls, institutions):
        super().delete(institutions)
        cls._forget_rules()

    @classmethod
    def _forget_rules(cls):
        "The domains of rules hold the institutions of users"
        Pool().get('ir.rule')._domain_get_cache.clear()


class _OfResource:
    """Attachments and notes follow the rules of what they are attached to

    Tryton looks at the rights on its model only, unless they are searched.
    """
    __slots__ = ()

    @classmethod
    def check_access(cls, ids, mode='read'):
        pool = Pool()
        Rule = pool.get('ir.rule')
        super().check_access(ids, mode=mode)
        names = {
            name for name in [
                'gnuhealth.imaging.test.request',
                'gnuhealth.imaging.test.result']
            if Rule.domain_get(name)}
        if not names:
            return
        resources = {}
        with without_check_access():
            for record in cls.browse(ids):
                if record.resource and record.resource.__name__ in names:
                    resources.setdefault(
                        record.resource.__name__, set()).add(
                            record.resource.id)
        for name, resource_ids in resources.items():
            Rule.check(name, list(resource_ids), mode='read')


class Attachment(_OfResource, metaclass=PoolMeta):
    __name__ = 'ir.attachment'


class Note(_OfResource, metaclass=PoolMeta):
    __name__ = 'ir.note'
