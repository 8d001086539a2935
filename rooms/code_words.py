"""The words of join codes: common, friendly, eight letters at most, and already folded (no accents):
what is shown is what is typed.

Left out: plurals and words that sound like another (ancre, encre), for a code is read aloud; names of
animals and foods that are also insults, for two of them together are given to a class.
"""

WORDS: tuple[str, ...] = tuple(
    """
    abeille abricot accord agneau aigle album alpin ananas ancre animal anneau arbre arche argent
    armoire astre atelier aube avion avocat badge balade balle bambou banane banc barque basilic bateau
    belette berger bijou biscuit bison bleuet blouson bocal bonbon bonnet bouquet bourgeon boussole
    brioche brise brosse bulle bureau cabane cactus cadeau cahier caillou calme camion canard canot
    caravane caribou carotte carte cascade castor cerise chaise chalet chameau chanson chapeau chaton
    chemin cheval chocolat chorale cigale cigogne citron clavier clocher colibri colline comptine copain
    coquille corail coton coucou couleur crabe crayon cristal crocus cuisine dauphin dessin diamant
    dindon domino dragon drapeau dune echelle ecole ecureuil edredon elan enigme epice etoile fable
    falaise fanfare farine fauteuil fenetre ferme festin feuille ficelle figue flamant flocon flute
    fontaine foret fougere fourmi fraise fromage fusee galaxie galet gant garage gazelle genou girafe
    glace globe gomme goutte grange gravier grelot grenier griotte guimauve guitare hamac hamster
    haricot harpe herbe herisson hibou hiver horizon huard igloo image insecte iris jardin jasmin jeudi
    jouet journal jumelle jungle jupiter kayak kiwi koala lagune laine lampe lanterne lapin lavande
    lecture legume lentille lettre lezard lievre lilas lion livre loutre lucarne lumiere lundi lune
    lutin macaron magie maison manege mangue marelle marin marmotte matin melodie menthe mercredi merle
    mesange miel mimosa minuit miroir mitaine montagne mouette moulin mouton muguet musique myrtille
    nacre nature navire neige nid noisette nuage oasis ocean olive ombre orage orange oreiller ourson
    outarde palmier panda panier papier papillon parasol parfum patin peluche perle phare piano pingouin
    pirate pivoine plage planete plume poireau poisson poivron pomme poney potiron poulain prairie prune
    puzzle quille radis raisin recette renard requin risotto riviere robot rocher rosier ruban ruche
    ruisseau sable safran salade samedi sapin sardine saumon savon sifflet sirop soleil sommet souris
    sucre tambour tapis tasse tempete tigre tilleul tomate tortue toucan toupie train traineau trapeze
    tresor tulipe tunnel vague valise vanille vendredi verger vigne village violette violon virgule
    voilier volcan voyage wagon zebre
    """.split()  # noqa: SIM905 -- 322 quoted words are not easier to read
)
