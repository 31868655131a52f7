"""What was done to a model, what each part costs, and what bounds its speed: data and text that run nothing."""

from l0compile.runtime.account.bound import Account as Account
from l0compile.runtime.account.bound import AccountPart as AccountPart
from l0compile.runtime.account.bound import RegionTime as RegionTime
from l0compile.runtime.account.bound import account as account
from l0compile.runtime.account.explanation import Explanation as Explanation
from l0compile.runtime.account.profile import FunctionTime as FunctionTime
from l0compile.runtime.account.profile import Profile as Profile
